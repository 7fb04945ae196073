//! Asks admin every second how new the configuration is, over connections of its own: a stream that is open but brings nothing looks
//! exactly like one on which nothing happens.

use std::time::Duration;

use embermesh_lifecycle::Tasks;
use embermesh_proto::internal::v1::{Epoch, GetEpochRequest, config_client::ConfigClient};
use embermesh_transport::Transport;
use tokio::time::{sleep, timeout};
use tonic::{Code, Status};

use crate::{Section, Subscription, contact::Contact};

// A revocation is in force within 5 s whatever the stream does: asked after one, not answered on a connection that is stuck for another,
// given a third to arrive by itself, and then read anew.
const EVERY: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(1);
/// For an admin that is slow rather than gone.
const LONGEST_PATIENCE: Duration = Duration::from_secs(2);
/// A change is on its way for so long, when another replica of admin has made it.
const ON_ITS_WAY: Duration = Duration::from_secs(1);

/// Asks until the process stops.
pub(crate) async fn watch(
    admin: Transport,
    sections: Vec<Section>,
    subscription: Subscription,
    contact: Contact,
    tasks: Tasks,
) {
    let work = async {
        let mut own = admin.apart();
        let mut patience = PATIENCE;
        loop {
            let asked = timeout(patience, ask(&own, &sections)).await;
            let first = patience == PATIENCE;
            patience = if asked.is_err() { LONGEST_PATIENCE } else { PATIENCE };
            match asked {
                Ok(Ok(epoch)) => {
                    contact.heard();
                    if is_behind(&subscription, &epoch) && !catches_up(&subscription, &epoch).await {
                        tracing::warn!(
                            held = subscription.current().version,
                            version = epoch.version,
                            "the configuration stream is behind, opening another"
                        );
                        contact.reopen();
                    }
                }
                // an admin of the release before has no epoch, and is there all the same
                Ok(Err(status)) if status.code() == Code::Unimplemented => contact.heard(),
                Ok(Err(status)) => {
                    tracing::debug!(%status, "admin does not tell how new the configuration is")
                }
                Err(_) => {
                    tracing::debug!("no word from admin, trying another connection");
                    own = admin.apart();
                    if first {
                        continue;
                    }
                }
            }
            contact.show(subscription.current().version);
            sleep(if patience == PATIENCE { EVERY } else { EVERY / 2 }).await;
        }
    };
    tokio::select! {
        () = work => {}
        () = tasks.stopping() => {}
    }
}

async fn ask(admin: &Transport, sections: &[Section]) -> Result<Epoch, Status> {
    let sections = sections.iter().map(|section| i32::from(*section)).collect();
    let answer = ConfigClient::new(admin.clone()).get_epoch(GetEpochRequest { sections }).await;
    answer.map(tonic::Response::into_inner)
}

fn is_behind(subscription: &Subscription, epoch: &Epoch) -> bool {
    let held = subscription.known().map_or(0, |snapshot| snapshot.version);
    held < epoch.version || held > epoch.last_version
}

/// Whether the stream brings what is missing by itself.
async fn catches_up(subscription: &Subscription, epoch: &Epoch) -> bool {
    let mut changes = subscription.changes();
    timeout(ON_ITS_WAY, changes.wait_for(|_| !is_behind(subscription, epoch))).await.is_ok()
}

//! The two tasks of a subscription: one follows admin's stream, one saves what came.

use std::{path::PathBuf, time::Duration};

use embermesh_lifecycle::{Condition, Tasks};
use embermesh_proto::internal::v1::{SubscribeRequest, config_client::ConfigClient};
use embermesh_transport::{MAX_MESSAGE_BYTES, Transport};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tonic::{Code, Status};

use crate::{Options, Subscription, contact::Contact, disk, entry};

const FIRST_PAUSE: Duration = Duration::from_millis(50);
// below the 5 s in which a revocation must arrive even with a broken stream
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How long an admin that is slow rather than gone may take to gather the snapshot, after it took too long before.
const LONGEST_GATHERING: Duration = Duration::from_secs(32);
/// Admin speaks at least every second; one that is silent for so long is gone, whatever the connection says.
const SILENCE: Duration = Duration::from_secs(4);
const SAVE_AT_MOST_EVERY: Duration = Duration::from_secs(1);

/// Follows the stream for ever: what ends it is logged, waited out and tried again.
pub(crate) async fn follow(
    admin: Transport,
    options: Options,
    subscription: Subscription,
    contact: Contact,
    tasks: Tasks,
    ready: Option<Condition>,
) {
    let mut own = admin.apart();
    let mut pause = FIRST_PAUSE;
    let mut gathering = SILENCE;
    loop {
        let mut heard = false;
        let ended = tokio::select! {
            ended = once(gathering, &own, &options, &subscription, &contact, ready.as_ref(), &mut heard) => ended,
            () = tasks.stopping() => return,
        };
        if heard {
            pause = FIRST_PAUSE;
            gathering = SILENCE;
        } else if ended.code() == Code::DeadlineExceeded {
            // whoever begins again before the answer is there makes a busy admin busier
            gathering = (gathering * 2).min(LONGEST_GATHERING);
        }
        tracing::warn!(status = %ended.code(), "lost the configuration stream, connecting again");
        if matches!(ended.code(), Code::DeadlineExceeded | Code::Aborted) {
            // the connection may be stuck, and a new stream would be stuck with it
            own = admin.apart();
        }
        let mut doubts = contact.doubts();
        tokio::select! {
            // half to whole, so that replicas do not come back in step
            () = sleep(pause.mul_f64(rand::random_range(0.5..1.0))) => {}
            // admin is there, and has something new
            _ = doubts.changed() => {}
            () = tasks.stopping() => return,
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn once(
    gathering: Duration,
    admin: &Transport,
    options: &Options,
    subscription: &Subscription,
    contact: &Contact,
    ready: Option<&Condition>,
    heard: &mut bool,
) -> Status {
    let request = SubscribeRequest {
        sections: options.sections.iter().map(|section| i32::from(*section)).collect(),
        subscriber: options.subscriber.to_owned(),
    };
    let silent = || Status::deadline_exceeded("admin is silent");
    let mut client = ConfigClient::new(admin.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let mut updates = match timeout((gathering / 2).min(SILENCE), client.subscribe(request)).await {
        Ok(Ok(answer)) => answer.into_inner(),
        Ok(Err(status)) => return status,
        Err(_) => return silent(),
    };
    // deltas mean nothing before the snapshot that they change
    let mut based = false;
    let mut doubts = contact.doubts();
    loop {
        let patience = if based { SILENCE } else { gathering };
        let next = tokio::select! {
            next = timeout(patience, updates.message()) => next,
            _ = doubts.changed(), if based => return Status::aborted("the stream is behind"),
        };
        let update = match next {
            Ok(Ok(Some(update))) => update,
            Ok(Ok(None)) => return Status::unavailable("admin ended the stream"),
            Ok(Err(status)) => return status,
            Err(_) => return silent(),
        };
        *heard = true;
        contact.heard();
        if update.snapshot && !based {
            // what was in doubt before has just been read anew
            doubts.mark_unchanged();
        }
        based |= update.snapshot;
        if !based {
            continue;
        }
        let held = subscription.current();
        if let Some(next) = entry::apply(&held, update) {
            tracing::debug!(version = next.version, "configuration changed");
            let version = next.version;
            subscription.publish(next);
            contact.applied(version);
            if let Some(ready) = ready {
                ready.set(true);
            }
        }
    }
}

/// Saves every state, the last one included, but not more often than is good for the disk.
pub(crate) async fn keep_copy(
    subscription: Subscription,
    mut changes: watch::Receiver<i64>,
    path: PathBuf,
    tasks: Tasks,
) {
    loop {
        let stopping = tokio::select! {
            changed = changes.changed() => changed.is_err(),
            () = tasks.stopping() => true,
        };
        if stopping && !changes.has_changed().unwrap_or(false) {
            return;
        }
        changes.mark_unchanged();
        let (snapshot, target) = (subscription.current(), path.clone());
        let saved = tokio::task::spawn_blocking(move || disk::save(&target, &snapshot)).await;
        match saved {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "cannot save the configuration"),
            Err(error) => tracing::error!(%error, "saving the configuration was cut off"),
        }
        if stopping {
            return;
        }
        tokio::select! {
            () = sleep(SAVE_AT_MOST_EVERY) => {}
            () = tasks.stopping() => {}
        }
    }
}

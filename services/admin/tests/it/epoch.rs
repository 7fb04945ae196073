use std::time::Duration;

use embermesh_proto::{
    CONFIG_VERSION,
    internal::v1::{Epoch, GetEpochRequest, PinSpaceRequest, Section},
    v1::{AgentInput, CreateKeyRequest},
};

use crate::world::{Replica, World};

async fn epoch(replica: &Replica, sections: &[Section]) -> Option<Epoch> {
    let sections = sections.iter().map(|section| i32::from(*section)).collect();
    let answer = replica.config.clone().get_epoch(GetEpochRequest { sections }).await;
    answer.ok().map(tonic::Response::into_inner)
}

/// Waits for an epoch; each replica looks for changes at its own pace.
async fn reaches(replica: &Replica, sections: &[Section], version: i64, last_version: i64) {
    let wanted = Some(Epoch { version, last_version });
    let waiting = async {
        while epoch(replica, sections).await != wanted {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let told = tokio::time::timeout(Duration::from_secs(30), waiting).await;
    assert!(told.is_ok(), "{wanted:?} of {sections:?}, but {:?}", epoch(replica, sections).await);
}

#[tokio::test]
async fn the_epoch_is_that_of_the_sections_asked_for_on_every_replica() {
    let mut world = World::new().await;
    let second = Replica::start(&world.database, &world.clock, embermesh_admin::Settings::default()).await;
    let admin = world.admin();
    let made = CreateKeyRequest { name: "x".to_owned(), ..CreateKeyRequest::default() };
    let made = world.replica.keys.create_key(admin.request(made)).await.unwrap();
    let key: i64 = made.metadata().get(CONFIG_VERSION).unwrap().to_str().unwrap().parse().unwrap();
    let agent = AgentInput { agent_id: "docs".to_owned(), ..AgentInput::default() };
    let agent = world.replica.agents.put_agent(admin.request(agent)).await.unwrap();
    let agent: i64 = agent.metadata().get(CONFIG_VERSION).unwrap().to_str().unwrap().parse().unwrap();
    assert!(agent > key);
    for replica in [&world.replica, &second] {
        reaches(replica, &[Section::Keys], key, agent).await;
        reaches(replica, &[Section::Keys, Section::Agents], agent, agent).await;
        // nothing was ever turned
        reaches(replica, &[Section::Settings], 0, agent).await;
        reaches(replica, &[], 0, agent).await;
    }
    // what others are told of makes nobody look behind
    let pin = PinSpaceRequest {
        agent_id: "docs".to_owned(),
        task_type: "research".to_owned(),
        space_id: "acme/x@8".to_owned(),
        model: "m".to_owned(),
    };
    second.config.clone().pin_space(admin.request(pin)).await.unwrap();
    reaches(&world.replica, &[Section::Keys], key, agent + 1).await;
    reaches(&world.replica, &[Section::Pins], agent + 1, agent + 1).await;
}

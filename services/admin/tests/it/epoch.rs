use embermesh_proto::{
    CONFIG_VERSION,
    internal::v1::{Epoch, GetEpochRequest, PinSpaceRequest, Section},
    v1::{AgentInput, CreateKeyRequest},
};

use crate::world::{Replica, World};

async fn epoch(replica: &Replica, sections: &[Section]) -> Epoch {
    let sections = sections.iter().map(|section| i32::from(*section)).collect();
    let answer = replica.config.clone().get_epoch(GetEpochRequest { sections }).await;
    answer.unwrap().into_inner()
}

#[tokio::test]
async fn the_epoch_is_that_of_the_sections_asked_for_on_every_replica() {
    let mut world = World::new().await;
    let second = Replica::start(&world.database, &world.clock, embermesh_admin::Settings::default()).await;
    let admin = world.admin();
    assert_eq!(epoch(&second, &[Section::Settings]).await.version, 0, "nothing was ever turned");
    let made = CreateKeyRequest { name: "x".to_owned(), ..CreateKeyRequest::default() };
    let made = world.replica.keys.create_key(admin.request(made)).await.unwrap();
    let key: i64 = made.metadata().get(CONFIG_VERSION).unwrap().to_str().unwrap().parse().unwrap();
    let agent = AgentInput { agent_id: "docs".to_owned(), ..AgentInput::default() };
    let agent = world.replica.agents.put_agent(admin.request(agent)).await.unwrap();
    let agent: i64 = agent.metadata().get(CONFIG_VERSION).unwrap().to_str().unwrap().parse().unwrap();
    assert!(agent > key);
    for replica in [&world.replica, &second] {
        assert_eq!(epoch(replica, &[Section::Keys]).await, Epoch { version: key, last_version: agent });
        let both = epoch(replica, &[Section::Keys, Section::Agents]).await;
        assert_eq!(both, Epoch { version: agent, last_version: agent });
        assert_eq!(epoch(replica, &[]).await, Epoch { version: 0, last_version: agent });
    }
    // what others are told of makes nobody look behind
    let pin = PinSpaceRequest {
        agent_id: "docs".to_owned(),
        task_type: "research".to_owned(),
        space_id: "acme/x@8".to_owned(),
        model: "m".to_owned(),
    };
    second.config.clone().pin_space(admin.request(pin)).await.unwrap();
    let keys = epoch(&world.replica, &[Section::Keys]).await;
    assert_eq!(keys.version, key);
    assert!(keys.last_version > agent);
}

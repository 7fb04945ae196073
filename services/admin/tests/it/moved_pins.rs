//! Pins that a migration moves: all that are meant, in one change that is on record and streamed, and back to exactly where they were.

use crate::world::{World, context, refused};
use embermesh_errors::Code;
use embermesh_proto::internal::v1::{MovePinsRequest, Pin, PinSpaceRequest};
use embermesh_transport::CallContext;

const OLD: &str = "acme/old@8";
const NEW: &str = "acme/new@8";

async fn pin(world: &World, by: &CallContext, agent: &str, task: &str, space: &str, model: &str) {
    let [agent_id, task_type, space_id, model] = [agent, task, space, model].map(str::to_owned);
    let pin = PinSpaceRequest { agent_id, task_type, space_id, model };
    world.replica.config.clone().pin_space(by.request(pin)).await.unwrap();
}

async fn moved(
    world: &World,
    by: &CallContext,
    agent: &str,
    back: bool,
) -> Result<Vec<String>, tonic::Status> {
    let (from, to) = if back { (NEW, OLD) } else { (OLD, NEW) };
    let [agent_id, from_space_id, to_space_id, model] = [agent, from, to, "new-model"].map(str::to_owned);
    let request = MovePinsRequest { agent_id, from_space_id, to_space_id, model, back };
    let reply = world.replica.config.clone().move_pins(by.request(request)).await?.into_inner();
    let name = |pin: Pin| format!("{} {} {}", pin.agent_id, pin.task_type, pin.model);
    Ok(reply.moved.into_iter().map(name).collect())
}

/// Every pin of a tenant.
async fn pins(world: &World, of: &CallContext) -> Vec<String> {
    let (schema, role) = (embermesh_postgres::Schema::Admin, embermesh_postgres::Role::Owner);
    let pool = embermesh_postgres::PoolConfig::default();
    let owner =
        embermesh_postgres::Database::connect(world.database.url(), schema, role, &pool).await.unwrap();
    let tenant = of.principal.tenant.uuid();
    let sql = "SELECT agent_id || ' ' || task_type || ' ' || space_id || ' ' || model FROM pins
        WHERE tenant_id = $1 ORDER BY 1";
    let rows = owner.tenant(tenant).query(sql, &[&tenant]).await.unwrap();
    rows.iter().map(|row| row.try_get(0).unwrap()).collect()
}

#[tokio::test]
async fn pins_move_together_and_go_back_to_what_they_were() {
    let world = World::new().await;
    let (admin, other) = (world.admin(), world.other_tenant().await);
    pin(&world, &admin, "docs", "general_qa", OLD, "one-name").await;
    pin(&world, &admin, "docs", "research", OLD, "another-name").await;
    pin(&world, &admin, "mail", "general_qa", OLD, "one-name").await;
    pin(&world, &admin, "mail", "research", NEW, "new-model").await;
    pin(&world, &other, "docs", "general_qa", OLD, "one-name").await;
    let (before, others) = (pins(&world, &admin).await, pins(&world, &other).await);

    let of_docs = ["docs general_qa new-model", "docs research new-model"];
    assert_eq!(moved(&world, &admin, "docs", false).await.unwrap(), of_docs);
    // repeated, it names what it has moved and changes nothing
    assert_eq!(moved(&world, &admin, "docs", false).await.unwrap(), of_docs);
    let all = moved(&world, &admin, "", false).await.unwrap();
    assert_eq!(all, [of_docs[0], of_docs[1], "mail general_qa new-model"]);
    assert!(pins(&world, &admin).await.iter().all(|pin| pin.contains(NEW)));
    assert_eq!(pins(&world, &other).await, others);

    // a pin that was in the new space of its own stays there
    assert_eq!(moved(&world, &admin, "", true).await.unwrap(), Vec::<String>::new());
    assert_eq!(pins(&world, &admin).await, before);
    assert_eq!(moved(&world, &admin, "", true).await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn only_administrators_move_pins_and_a_bound_key_its_agents() {
    let world = World::new().await;
    let admin = world.admin();
    pin(&world, &admin, "docs", "general_qa", OLD, "m").await;
    pin(&world, &admin, "mail", "general_qa", OLD, "m").await;
    let embeds = context(world.first.tenant, None, &["embed"]);
    assert_eq!(refused(moved(&world, &embeds, "docs", false).await).code, Code::Forbidden);
    let bound = context(world.first.tenant, Some("mail"), &["admin"]);
    assert_eq!(refused(moved(&world, &bound, "docs", false).await).code, Code::Forbidden);
    assert_eq!(moved(&world, &bound, "", false).await.unwrap(), ["mail general_qa new-model"]);
}

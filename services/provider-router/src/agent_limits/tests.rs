use super::*;
use crate::pace::tests::Store;

const TENANT: TenantId = TenantId::SYSTEM;

fn agent(name: &str) -> AgentId {
    name.parse().unwrap()
}

fn limits(requests: Option<u32>, tokens: Option<u64>, concurrent: Option<u32>) -> RateLimits {
    RateLimits { requests_per_minute: requests, tokens_per_minute: tokens, concurrent_requests: concurrent }
}

fn of(store: &Store, replicas: u32) -> AgentLimits {
    AgentLimits::new(replicas, store.throttle(), store.tasks.clone())
}

#[tokio::test]
async fn a_minutes_requests_may_come_at_once_and_the_next_is_told_when() {
    for store in [Store::with_redis().await, Store::start(None).await] {
        let agents = of(&store, 1);
        let three = limits(Some(3), None, None);
        for _ in 0..3 {
            drop(agents.admit(TENANT, &agent("a"), &three, 0).await.unwrap());
        }
        let refused = agents.admit(TENANT, &agent("a"), &three, 0).await.unwrap_err();
        assert_eq!(refused.code, Code::RateLimited);
        assert!(refused.retry_after.is_some_and(|wait| wait > Duration::from_secs(20)), "{refused:?}");
        assert_eq!(refused.details["limit"], "requests_per_minute");
        assert_eq!(refused.details["requests_per_minute"], 3);
        // others are not concerned
        let _other = agents.admit(TENANT, &agent("b"), &three, 0).await.unwrap();
        let elsewhere = TenantId::new(uuid::Uuid::from_u128(7));
        let _elsewhere = agents.admit(elsewhere, &agent("a"), &three, 0).await.unwrap();
        // a limit that is raised holds at once
        let _more = agents.admit(TENANT, &agent("a"), &limits(None, None, None), 0).await.unwrap();
    }
}

#[tokio::test]
async fn routers_share_an_agents_limit() {
    let store = Store::with_redis().await;
    let routers = [of(&store, 2), of(&store, 2)];
    let ten = limits(Some(10), None, None);
    let mut admitted = 0;
    for n in 0..20 {
        admitted += u32::from(routers[n % 2].admit(TENANT, &agent("a"), &ten, 0).await.is_ok());
    }
    assert_eq!(admitted, 10);
    // and its tokens, of which a lease may hold a few: BerriAI/litellm#27736
    let thousand = limits(None, Some(1_000), None);
    let mut admitted = 0;
    for n in 0..20 {
        admitted += u32::from(routers[n % 2].admit(TENANT, &agent("b"), &thousand, 100).await.is_ok());
    }
    assert!((6..=10).contains(&admitted), "{admitted}");
}

#[tokio::test]
async fn an_agents_requests_go_on_when_redis_dies_and_those_before_still_count() {
    let mut store = Store::with_redis().await;
    let agents = of(&store, 1);
    let ten = limits(Some(10), None, None);
    for _ in 0..4 {
        drop(agents.admit(TENANT, &agent("a"), &ten, 0).await.unwrap());
    }
    store.redis.as_mut().unwrap().kill();
    let mut admitted = 0;
    while agents.admit(TENANT, &agent("a"), &ten, 0).await.is_ok() {
        admitted += 1;
    }
    assert_eq!(admitted, 6);
}

#[tokio::test]
async fn tokens_count_too_and_what_never_fits_is_said_to() {
    let store = Store::start(None).await;
    let agents = of(&store, 1);
    let thousand = limits(None, Some(1_000), None);
    let _most = agents.admit(TENANT, &agent("a"), &thousand, 900).await.unwrap();
    let _rest = agents.admit(TENANT, &agent("a"), &thousand, 100).await.unwrap();
    let refused = agents.admit(TENANT, &agent("a"), &thousand, 1).await.unwrap_err();
    assert_eq!((refused.code, &refused.details["limit"]), (Code::RateLimited, &"tokens_per_minute".into()));
    let never = agents.admit(TENANT, &agent("b"), &thousand, 1_001).await.unwrap_err();
    assert_eq!((never.code, never.retry_after), (Code::TooLarge, None));
}

#[tokio::test]
async fn requests_at_a_time_are_given_back() {
    let store = Store::start(None).await;
    // two routers: two each
    let agents = of(&store, 2);
    let four = limits(None, None, Some(4));
    let one = agents.admit(TENANT, &agent("a"), &four, 0).await.unwrap();
    let _two = agents.admit(TENANT, &agent("a"), &four, 0).await.unwrap();
    let refused = agents.admit(TENANT, &agent("a"), &four, 0).await.unwrap_err();
    assert_eq!((refused.code, &refused.details["concurrent_requests"]), (Code::RateLimited, &4.into()));
    drop(one);
    let _three = agents.admit(TENANT, &agent("a"), &four, 0).await.unwrap();
}

#[tokio::test]
async fn a_refused_request_holds_no_place() {
    let store = Store::start(None).await;
    let agents = of(&store, 1);
    let both = limits(Some(1), None, Some(1));
    drop(agents.admit(TENANT, &agent("a"), &both, 0).await.unwrap());
    for _ in 0..3 {
        let refused = agents.admit(TENANT, &agent("a"), &both, 0).await.unwrap_err();
        assert_eq!(refused.details["limit"], "requests_per_minute");
    }
}

#[tokio::test]
async fn idle_agents_leave_and_busy_ones_stay() {
    let store = Store::start(None).await;
    let agents = of(&store, 1);
    let none = limits(None, None, Some(10));
    let busy = agents.admit(TENANT, &agent("busy"), &none, 0).await.unwrap();
    for n in 0..SWEEP {
        drop(agents.admit(TENANT, &agent(&format!("agent-{n}")), &none, 0).await.unwrap());
    }
    agents.agents().sweep_at = 0;
    agents.agents().sweep(Instant::now() + IDLE);
    let left: Vec<String> = agents.agents().known.keys().map(|(_, agent)| agent.to_string()).collect();
    assert_eq!(left, ["busy"]);
    drop(busy);
}

//! Search by vectors and words at once.

use std::collections::{BTreeSet, HashMap};

use embermesh_postgres::{Database, Migration, PoolConfig, Role, Schema, migrate};
use embermesh_private_postgres::TestDatabase;
use embermesh_proto::{
    internal::v1::{PutRow, StoreFilter, StoreHit, StoreSearchRequest},
    to_le_bytes,
};
use embermesh_vector_store::{Settings, TextSearch};

use crate::harness::{Bench, Caller, Numbers, SPACE, row, search};

const DIMENSIONS: usize = 4;

fn hybrid(text: &str, query: &[f32]) -> StoreSearchRequest {
    StoreSearchRequest { text: Some(text.into()), ..search(query) }
}

fn content(hit: &StoreHit) -> &str {
    &hit.row.as_ref().unwrap().content
}

/// Every tenant reads words through the index, were there one.
fn through_index() -> Settings {
    Settings {
        exact_max_rows: 0,
        text_search: TextSearch { min_rows: 2, min_tenant_rows: 2, ..TextSearch::default() },
        // the tests say when
        maintenance_seconds: 3_600,
        ..Settings::default()
    }
}

/// A row that its vector hides behind sixty others.
async fn hide(caller: &Caller, text: &str) {
    let mut rows: Vec<_> = (0..60)
        .map(|n| row(&format!("the pump of unit {n} runs warm"), &[1.0, 0.01 * n as f32, 0.0, 0.0]))
        .collect();
    rows.push(row(text, &[-1.0, 0.2, 0.0, 0.0]));
    caller.put(rows).await;
}

#[tokio::test]
async fn a_rare_word_is_found_where_its_vector_ranks_low() {
    let bench = Bench::start().await;
    let caller = bench.caller();
    hide(&caller, "code ERR-48213 appears when the seal is worn").await;
    let query = [1.0, 0.0, 0.0, 0.0];
    let by_vector = caller.search(search(&query)).await.unwrap();
    assert!(by_vector.hits.iter().all(|hit| !content(hit).contains("ERR-48213")));
    assert!(by_vector.hits.iter().all(|hit| hit.score == hit.similarity));

    let reply = caller.search(hybrid("why do the pumps of a unit show ERR-48213?", &query)).await.unwrap();
    assert_eq!((reply.scan.as_str(), reply.truncated.as_str(), reply.hits.len()), ("exact+words", "", 10));
    let found = reply.hits.iter().position(|hit| content(hit).contains("ERR-48213")).unwrap();
    // first of the words, last of the vectors
    assert!(found < 2, "at {found}");
    let expected = -1.0 / (1.0 + 0.04_f64).sqrt();
    assert!((reply.hits[found].similarity - expected).abs() < 1e-3, "{}", reply.hits[found].similarity);
    assert!(reply.hits.is_sorted_by(|a, b| a.score >= b.score));

    // the least similarity holds of what words found too
    let request = StoreSearchRequest { min_similarity: Some(0.9), limit: 100, ..hybrid("ERR-48213", &query) };
    let reply = caller.search(request).await.unwrap();
    assert!(reply.hits.iter().all(|hit| hit.similarity >= 0.9 && !content(hit).contains("ERR-48213")));
    assert_eq!(reply.truncated, format!("only {} rows reach a similarity of 0.9", reply.hits.len()));
    // stop words are no words to look for
    let reply = caller.search(hybrid("what is this?", &query)).await.unwrap();
    assert_eq!((reply.scan.as_str(), reply.hits.len()), ("exact", 10));
    let reply = caller.search(StoreSearchRequest { limit: 100, ..hybrid("seal", &query) }).await.unwrap();
    assert_eq!(reply.truncated, "only 61 rows match");
    let error = caller.search(hybrid("a\0b", &query)).await.unwrap_err();
    assert_eq!(error.param.as_deref(), Some("query"));
}

#[tokio::test]
async fn quotes_and_odd_characters_are_words_like_others() {
    let bench = Bench::start().await;
    let caller = bench.caller();
    for text in [r"it's O'Brien", r"C:\temp\file.txt", "100% & more | <b>", "naïve café 漢字", "a:b !x (y)"]
    {
        caller.put_one(row(text, &[0.0, 1.0, 0.0, 0.0])).await;
        let reply = caller.search(hybrid(text, &[1.0, 0.0, 0.0, 0.0])).await.unwrap();
        assert_eq!(content(&reply.hits[0]), text);
    }
    // a phrase that holds stands before words that are only there
    hide(&caller, "started the pump, closed the valve").await;
    caller.put_one(row("the valve was closed before the pump was started", &[-1.0, 0.2, 0.0, 0.0])).await;
    let request =
        StoreSearchRequest { limit: 15, ..hybrid(r#""pump was started" valve"#, &[0.0, 0.0, 0.0, 1.0]) };
    let reply = caller.search(request).await.unwrap();
    let at = |text: &str| reply.hits.iter().position(|hit| content(hit).starts_with(text)).unwrap();
    assert!(at("the valve was closed") < at("started the pump"));
}

const WORDS: [&str; 8] = ["amber", "basalt", "cobalt", "dolomite", "emerald", "feldspar", "garnet", "halite"];

/// What is known of a row without asking PostgreSQL.
struct Known {
    words: BTreeSet<usize>,
    vector: Vec<f32>,
}

/// The rows of `known` by rank among the words, as the definition says. Each word stands at most once in a text, so that the density of
/// two rows with equally many words is equal.
fn by_words(known: &[(String, Known)], asked: &BTreeSet<usize>, depth: usize) -> Vec<String> {
    let matched: Vec<_> = known
        .iter()
        .map(|(id, row)| (id, row.words.intersection(asked).copied().collect::<BTreeSet<_>>()))
        .filter(|(_, held)| !held.is_empty())
        .collect();
    let with = |word: usize| matched.iter().filter(|(_, held)| held.contains(&word)).count() as f64;
    let weight = |held: &BTreeSet<usize>| {
        let rare =
            |word: &usize| (1.0 + (matched.len() as f64 - with(*word) + 0.5) / (with(*word) + 0.5)).ln();
        (held.iter().map(rare).sum::<f64>() * 1e8).round() as i64
    };
    let mut ranked: Vec<_> =
        matched.iter().map(|(id, held)| (held != asked, -weight(held), -(held.len() as i64), *id)).collect();
    ranked.sort();
    let half = ranked.iter().map(|(_, weight, ..)| *weight).min().unwrap_or_default() / 2;
    ranked.retain(|(is_partial, weight, ..)| !is_partial || *weight <= half + 100);
    ranked.into_iter().take(depth).map(|(.., id)| id.clone()).collect()
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot =
        |x: &[f32], y: &[f32]| -> f64 { x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum() };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// 120 rows of a caller.
async fn fill(caller: &Caller, seed: u64) -> Vec<(String, Known)> {
    let mut numbers = Numbers::new(seed);
    let mut known = Vec::new();
    let mut rows = Vec::new();
    for n in 0..120 {
        let words: BTreeSet<usize> =
            (0..WORDS.len()).filter(|word| numbers.next() > 0.2 + 0.1 * *word as f32).collect();
        let text: Vec<&str> = words.iter().map(|word| WORDS[*word]).collect();
        let vector = numbers.vector(DIMENSIONS);
        rows.push(row(&format!("{} x{n}", text.join(" ")), &vector));
        known.push(Known { words, vector });
    }
    let ids = caller.put(rows).await.into_iter().map(|put| put.embedding_id);
    ids.zip(known).collect()
}

async fn matches_brute_force(settings: Settings) {
    // in single precision the order of the vectors is certain
    let bench = Bench::with(Settings { element: embermesh_vector_store::Element::Float, ..settings }).await;
    let (caller, other) = (bench.caller(), bench.caller());
    let known = fill(&caller, 11).await;
    fill(&other, 12).await;
    bench.store.maintain().await.unwrap();
    let mut numbers = Numbers::new(13);
    for limit in [1, 7, 30, 200] {
        let mut asked: BTreeSet<usize> = (0..WORDS.len()).filter(|_| numbers.next() > 0.0).collect();
        asked.insert(5);
        let text: Vec<&str> = asked.iter().map(|word| WORDS[*word]).collect();
        let query = numbers.vector(DIMENSIONS);
        let request = StoreSearchRequest { limit, ..hybrid(&text.join(" "), &query) };
        let reply = caller.search(request).await.unwrap();

        let depth = (3 * limit as usize).max(50);
        let mut near: Vec<_> = known.iter().map(|(id, row)| (cosine(&row.vector, &query), id)).collect();
        near.sort_by(|a, b| b.0.total_cmp(&a.0));
        let mut scores: HashMap<&str, f64> = HashMap::new();
        let words = by_words(&known, &asked, depth);
        let near = near.iter().take(depth).map(|(_, id)| id.as_str());
        for (rank, id) in
            near.zip(1..).chain(words.iter().map(String::as_str).zip(1..)).map(|(id, rank)| (rank, id))
        {
            *scores.entry(id).or_default() += 1.0 / (60.0 + f64::from(rank));
        }
        let mut expected: Vec<_> = scores.into_iter().collect();
        expected.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(b.0)));
        expected.truncate(limit as usize);
        let found: Vec<_> = reply
            .hits
            .iter()
            .map(|hit| (hit.row.as_ref().unwrap().embedding_id.as_str(), hit.score, hit.similarity))
            .collect();
        assert_eq!(found.len(), expected.len(), "{limit}");
        for ((id, score, similarity), (expected_id, expected_score)) in found.iter().zip(&expected) {
            assert!((score - expected_score).abs() < 1e-12, "{limit}: {found:?} is not {expected:?}");
            assert_eq!(id, expected_id, "{limit}");
            let vector = &known.iter().find(|(known, _)| known == id).unwrap().1.vector;
            assert!((similarity - cosine(vector, &query)).abs() < 1e-5);
        }
    }
}

#[tokio::test]
async fn the_order_is_that_of_brute_force() {
    matches_brute_force(Settings::default()).await;
}

#[tokio::test]
async fn the_order_is_that_of_brute_force_through_the_index() {
    matches_brute_force(through_index()).await;
}

#[tokio::test]
async fn filters_hold_of_both_rankings_whichever_way_words_are_read() {
    for settings in [Settings::default(), through_index()] {
        let bench = Bench::with(settings).await;
        let caller = bench.caller();
        let begun = bench.clock.clock().now();
        let vector = |near: bool| if near { [1.0, 0.0, 0.0, 0.0] } else { [-1.0, 0.0, 0.0, 0.0] };
        let mut all = Vec::new();
        for (n, agent, context, metadata) in [
            (0, "a", "c", r#"{"n":1}"#),
            (1, "b", "c", r#"{"n":1}"#),
            (2, "a", "d", r#"{"n":1}"#),
            (3, "a", "c", r#"{"n":2}"#),
        ] {
            for near in [true, false] {
                let new = PutRow {
                    agent_id: agent.into(),
                    context_id: context.into(),
                    metadata: metadata.into(),
                    ..row(&format!("zircon {n} {near}"), &vector(near))
                };
                all.push(caller.put_one(new).await);
            }
        }
        bench.clock.advance(std::time::Duration::from_secs(60));
        all.push(caller.put_one(row("zircon late", &vector(true))).await);
        bench.store.maintain().await.unwrap();
        let found = async |filter: StoreFilter| -> Vec<String> {
            let request = StoreSearchRequest { filter: Some(filter), ..hybrid("zircon", &vector(true)) };
            let reply = caller.search(request).await.unwrap();
            let mut found: Vec<_> = reply
                .hits
                .iter()
                .map(|hit| content(hit).strip_prefix("zircon ").unwrap().to_owned())
                .collect();
            found.sort();
            found
        };
        let later = Some((begun + std::time::Duration::from_secs(30)).into());
        let pairs = |numbers: &[u32]| -> Vec<String> {
            numbers.iter().flat_map(|n| [format!("{n} false"), format!("{n} true")]).collect()
        };
        let default = StoreFilter::default;
        assert_eq!(found(StoreFilter { agent_id: "b".into(), ..default() }).await, pairs(&[1]));
        assert_eq!(found(StoreFilter { context_id: "d".into(), ..default() }).await, pairs(&[2]));
        assert_eq!(found(StoreFilter { metadata: r#"{"n":2}"#.into(), ..default() }).await, pairs(&[3]));
        assert_eq!(found(StoreFilter { created_after: later, ..default() }).await, ["late"]);
        assert_eq!(found(StoreFilter { created_before: later, ..default() }).await, pairs(&[0, 1, 2, 3]));
        let ids = vec![all[0].clone(), all[3].clone()];
        assert_eq!(found(StoreFilter { embedding_ids: ids, ..default() }).await, ["0 true", "1 false"]);
    }
}

#[tokio::test]
async fn tenants_do_not_find_each_others_words() {
    for settings in [Settings::default(), through_index()] {
        let bench = Bench::with(settings).await;
        let (one, two) = (bench.caller(), bench.caller());
        hide(&one, "the secret word is xylograph").await;
        hide(&two, "nothing here").await;
        bench.store.maintain().await.unwrap();
        let query = || StoreSearchRequest { limit: 200, ..hybrid("xylograph", &[1.0, 0.0, 0.0, 0.0]) };
        let reply = one.search(query()).await.unwrap();
        assert_eq!(
            (reply.hits.len(), reply.hits.iter().any(|hit| content(hit).contains("xylograph"))),
            (61, true)
        );
        let reply = two.search(query()).await.unwrap();
        assert_eq!(
            (reply.hits.len(), reply.hits.iter().any(|hit| content(hit).contains("xylograph"))),
            (61, false)
        );
        // a bound key stays with its agent
        let bound = bench.caller_of(one.tenant(), Some("b"));
        assert_eq!(bound.search(query()).await.unwrap().hits.len(), 0);
    }
    // the door past row-level security opens for nobody without a tenant, and nobody can name one
    let bench = Bench::with(through_index()).await;
    let caller = bench.caller();
    hide(&caller, "xylograph").await;
    let app = bench.sql(Role::App).await;
    let sql = "SELECT count(*) FROM (SELECT generate_series(0, 15)::smallint AS shard_key) AS shards,
        rows_with_words(1, 'english', 'xylograph', shard_key, NULL, NULL, NULL, NULL)";
    let all = "SELECT count(*) FROM rows_with_words(1, 'english', 'xylograph', (SELECT shard_key FROM space_1 LIMIT 1), NULL, NULL, NULL, NULL)";
    let count = async |session: embermesh_postgres::Session<'_>, sql: &str| -> i64 {
        session.query_one(sql, &[]).await.unwrap().get(0)
    };
    assert_eq!(count(app.system(), sql).await, 0);
    assert_eq!(count(app.tenant(bench.caller().tenant().uuid()), sql).await, 0);
    assert_eq!(count(app.tenant(caller.tenant().uuid()), all).await, 1);
}

/// A database of its own for a user of little power, with the roles that the first store made.
async fn owned_by_nobody_special() -> (TestDatabase, secrecy::SecretString) {
    drop(Bench::start().await);
    let database = TestDatabase::create().await;
    let name = database.name().to_owned();
    let superuser =
        Database::connect(database.url(), Schema::Store, Role::Owner, &PoolConfig::default()).await.unwrap();
    let prepare = format!(
        "CREATE EXTENSION IF NOT EXISTS vector WITH SCHEMA public;
         CREATE ROLE {name} LOGIN PASSWORD 'pw'; GRANT CREATE ON DATABASE {name} TO {name}; GRANT embermesh_app TO {name}"
    );
    superuser.system().batch_execute(&prepare).await.unwrap();
    let url = database.url_as(&name, "pw");
    (database, url)
}

#[tokio::test]
async fn an_owner_without_superuser_rights_searches_words_through_the_index() {
    let (database, url) = owned_by_nobody_special().await;
    let bench = Bench::logged_in(database, url, through_index()).await;
    let caller = bench.caller();
    let rows = (0..3_000).map(|n| row(&format!("common word number{n}"), &[1.0, n as f32, 0.0, 0.0]));
    for chunk in rows.collect::<Vec<_>>().chunks(1_000) {
        caller.put(chunk.to_vec()).await;
    }
    let query = || hybrid("number1234", &[1.0, 0.0, 0.0, 0.0]);
    let before = caller.search(query()).await.unwrap();
    bench.store.maintain().await.unwrap();
    let indexes = "SELECT count(*) FROM pg_indexes WHERE indexname = 'space_1_2025_11_english' AND indexdef LIKE '%gin%'";
    assert_eq!(bench.number(indexes).await, 1);
    let after = caller.search(query()).await.unwrap();
    assert!(after.hits.iter().any(|hit| content(hit).ends_with("number1234")));
    assert_eq!(
        before.hits.iter().map(content).collect::<Vec<_>>(),
        after.hits.iter().map(content).collect::<Vec<_>>()
    );
    let scans = "SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = 'space_1_2025_11_english'";
    for _ in 0..600 {
        if bench.number(scans).await > 0 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("the index of words was not used");
}

#[tokio::test]
async fn the_language_can_change_and_words_need_not_be_kept() {
    let settings = |language: &str, keep_words| Settings {
        text_search: TextSearch { language: language.into(), keep_words, min_rows: 1, min_tenant_rows: 1 },
        exact_max_rows: 0,
        maintenance_seconds: 3_600,
        ..Settings::default()
    };
    let bench = Bench::with(settings("english", true)).await;
    let tenant = bench.caller().tenant();
    // by its vector, "running" comes second
    let near = [1.0, 0.0, 0.0, 0.0];
    let first = async |bench: &Bench, text: &str| -> String {
        let reply = bench.caller_of(tenant, None).search(hybrid(text, &near)).await.unwrap();
        content(&reply.hits[0]).to_owned()
    };
    let rows = vec![row("sitting", &near), row("running", &[0.9, 0.1, 0.0, 0.0])];
    bench.caller_of(tenant, None).put(rows).await;
    bench.store.maintain().await.unwrap();
    assert_eq!(first(&bench, "run").await, "running");
    assert_eq!(bench.number("SELECT count(*) FROM space_1 WHERE lexemes IS NOT NULL").await, 2);
    let index =
        |language: &str| format!("SELECT count(*) FROM pg_indexes WHERE indexname LIKE '%{language}'");
    assert_eq!(bench.number(&index("english")).await, 1);

    let bench = Bench::on(bench.database, settings("simple", false)).await;
    for round in 0..2 {
        // what was kept as English is not asked for other words
        assert_eq!(first(&bench, "run").await, "sitting", "{round}");
        assert_eq!(first(&bench, "running").await, "running", "{round}");
        bench.store.maintain().await.unwrap();
    }
    assert_eq!((bench.number(&index("english")).await, bench.number(&index("simple")).await), (0, 1));
    bench.caller_of(tenant, None).put_one(row("flying", &[0.8, 0.1, 0.0, 0.0])).await;
    assert_eq!(first(&bench, "flying").await, "flying");
    assert_eq!(bench.number("SELECT count(*) FROM space_1 WHERE lexemes IS NOT NULL").await, 2);
}

#[tokio::test]
async fn a_language_that_postgresql_does_not_know_is_refused_with_those_it_knows() {
    let bench = Bench::start().await;
    for (language, reason) in [("klingon", "PostgreSQL knows arabic, "), ("En glish", "must be the name")] {
        let text_search = TextSearch { language: language.into(), ..TextSearch::default() };
        let error = bench.start_again(Settings { text_search, ..Settings::default() }).await.unwrap_err();
        let message = error.to_string();
        assert!(message.contains("text_search.language") && message.contains(reason), "{message}");
    }
}

#[tokio::test]
async fn tables_of_an_earlier_release_are_searched_without_being_rewritten() {
    let database = TestDatabase::create().await;
    let earlier = [
        Migration { name: "V001__store", sql: include_str!("../../../../migrations/store/V001__store.sql") },
        Migration {
            name: "V002__answers",
            sql: include_str!("../../../../migrations/store/V002__answers.sql"),
        },
        Migration { name: "V003__jobs", sql: include_str!("../../../../migrations/store/V003__jobs.sql") },
        Migration {
            name: "V004__archive",
            sql: include_str!("../../../../migrations/store/V004__archive.sql"),
        },
    ];
    migrate(database.url(), Schema::Store, &earlier).await.unwrap();
    let owner =
        Database::connect(database.url(), Schema::Store, Role::Owner, &PoolConfig::default()).await.unwrap();
    let tenant = "0192d5a0-0000-7000-8000-00000000abcd";
    let old = format!(
        "SELECT create_space('{SPACE}', 4, 'half', '2025-11-15T00:00:00Z');
        INSERT INTO space_1 SELECT '{tenant}', s, '2025-11-14T00:00:00Z', '019a7f5d-0000-7000-8000-000000000001', 'a', NULL,
            '{{}}', 'm', 'p', 'document', 'general_qa', '1', 1, 1, 'an old xylograph', '[0,1,0,0]'
        FROM generate_series(0, 255) AS s"
    );
    owner.system().batch_execute(&old).await.unwrap();
    let file = "SELECT pg_relation_filenode('space_1_2025_11')::bigint";
    let before: i64 = owner.system().query_one(file, &[]).await.unwrap().get(0);

    let bench = Bench::on(database, through_index()).await;
    let caller = bench.caller_of(tenant.parse().unwrap(), None);
    caller.put_one(row("a new xylograph", &[0.0, 1.0, 0.0, 0.0])).await;
    for _ in 0..2 {
        let request = StoreSearchRequest {
            query: to_le_bytes(&[1.0, 0.0, 0.0, 0.0]),
            ..hybrid("xylographs", &[1.0; 4])
        };
        let reply = caller.search(request).await.unwrap();
        let mut found: Vec<_> = reply.hits.iter().map(content).collect();
        found.sort_unstable();
        assert_eq!(found, ["a new xylograph", "an old xylograph"]);
        assert!(reply.hits.iter().all(|hit| hit.score > 1.0 / 61.0), "found by vector and words");
        bench.store.maintain().await.unwrap();
    }
    assert_eq!(bench.number(file).await, before);
    assert_eq!(bench.number("SELECT count(*) FROM space_1 WHERE lexemes IS NULL").await, 256);
}

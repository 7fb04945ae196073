//! Ways in which a batch of many rows could be stored, on the service's own table with its indexes, words and row-level security. The
//! service has the first of them; the others are here so that what they would bring can be measured again.

use std::{
    pin::pin,
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use bytes::{BufMut as _, Bytes, BytesMut};
use futures::{SinkExt as _, future::try_join3};
use tokio_postgres::{
    Client, NoTls,
    types::{IsNull, ToSql, Type, to_sql_checked},
};

use super::{SearchError, corpus::Corpus, raw::Element};

/// Rows of each measurement, of which the median of some is told.
const ROWS: usize = 20_000;
const ROUNDS: usize = 3;
const BATCHES: [usize; 3] = [1_000, 5_000, 20_000];
const COPIED_AT_ONCE: usize = 256 << 10;

/// What is sent of a row.
const COLUMNS: [(&str, &str); 14] = [
    ("embedding_id", "uuid"),
    ("dedup_hash", "bytea"),
    ("agent_id", "text"),
    ("context_id", "text"),
    ("metadata", "text"),
    ("model", "text"),
    ("provider", "text"),
    ("input_type", "text"),
    ("task_type", "text"),
    ("pii_policy_version", "text"),
    ("content", "text"),
    ("tokens", "bigint"),
    ("cost_nano_usd", "bigint"),
    ("embedding", "halfvec"),
];

type Row = [Option<Bytes>; COLUMNS.len()];

/// How a batch is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// One statement whose parameters are arrays.
    Arrays,
    /// The same for a thousand rows at a time, in one transaction.
    Thousands,
    /// `COPY` into a temporary table, and from there.
    Copied,
}

impl Way {
    const ALL: [Self; 3] = [Self::Arrays, Self::Thousands, Self::Copied];

    const fn name(self) -> &'static str {
        match self {
            Self::Arrays => "one statement with arrays",
            Self::Thousands => "arrays of 1,000 in a transaction",
            Self::Copied => "COPY through a temporary table",
        }
    }
}

/// Stores rows of the corpus in each way, as new rows in the table of this space, and takes them away again; returns what was measured
/// and rows a second.
///
/// # Errors
/// When PostgreSQL refuses.
pub async fn compare(url: &str, corpus: &Corpus, space: i64) -> Result<Vec<(String, f64)>, SearchError> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::select! {
        ended = connection => Err(format!("the connection ended: {ended:?}").into()),
        measured = compare_on(&client, corpus, space) => measured,
    }
}

async fn compare_on(client: &Client, corpus: &Corpus, space: i64) -> Result<Vec<(String, f64)>, SearchError> {
    client.batch_execute("SET search_path = store, public").await?;
    let mut measured = Vec::new();
    for batch in BATCHES {
        // side by side: what one finds warm or large, the other does too
        let mut rates: [Vec<f64>; Way::ALL.len()] = Default::default();
        for _ in 0..ROUNDS {
            for (way, rates) in Way::ALL.into_iter().zip(&mut rates) {
                if way == Way::Thousands && batch == 1_000 {
                    continue;
                }
                client.batch_execute("SET ROLE embermesh_app").await?;
                rates.push(rate(client, corpus, space, way, batch).await?);
                let keys = format!("DELETE FROM embedding_keys WHERE space_no = {space}");
                client.batch_execute(&format!("RESET ROLE; TRUNCATE space_{space}; {keys}")).await?;
                client.batch_execute("VACUUM embedding_keys").await?;
            }
        }
        for (way, mut rates) in Way::ALL.into_iter().zip(rates) {
            rates.sort_by(f64::total_cmp);
            if let Some(median) = rates.get(rates.len() / 2) {
                measured.push((format!("batches of {batch}, {}, rows/s", way.name()), *median));
            }
        }
    }
    Ok(measured)
}

async fn rate(
    client: &Client,
    corpus: &Corpus,
    space: i64,
    way: Way,
    batch: usize,
) -> Result<f64, SearchError> {
    let tenant = format!("0192d5a0-0000-7000-8000-{:012x}", 9_000_000 + NEXT.fetch_add(1, Ordering::Relaxed));
    let begin = format!("BEGIN; SET LOCAL app.tenant = '{tenant}'");
    let (begun, rows) = (Instant::now(), ROWS.min(corpus.texts.len()));
    let mut stored = 0;
    while stored < rows {
        let upto = rows.min(stored + batch);
        let mut batch: Vec<Row> = (stored..upto).map(|row| encode(corpus, row)).collect();
        batch.sort_by(|a, b| a[1].cmp(&b[1]));
        let entered = match way {
            Way::Arrays => {
                let sql = insert(&arrays(), &tenant, space);
                let statement = client.prepare(&sql).await?;
                let columns = columns(&batch);
                let parameters = parameters(&columns);
                // in one round trip
                let (begin, commit) = (client.batch_execute(&begin), client.batch_execute("COMMIT"));
                try_join3(begin, client.query(&statement, &parameters), commit).await?.1.len()
            }
            Way::Thousands => {
                let sql = insert(&arrays(), &tenant, space);
                let statement = client.prepare(&sql).await?;
                client.batch_execute(&begin).await?;
                let mut entered = 0;
                for part in batch.chunks(1_000) {
                    let columns = columns(part);
                    entered += client.query(&statement, &parameters(&columns)).await?.len();
                }
                client.batch_execute("COMMIT").await?;
                entered
            }
            Way::Copied => {
                let typed: Vec<String> =
                    COLUMNS.iter().map(|(name, kind)| format!("{name} {kind}")).collect();
                let staged = format!("CREATE TEMPORARY TABLE staged ({}) ON COMMIT DROP", typed.join(", "));
                client.batch_execute(&format!("{begin}; {staged}")).await?;
                copy(client, &batch).await?;
                let entered = client.query(&insert("TABLE staged", &tenant, space), &[]).await?.len();
                client.batch_execute("COMMIT").await?;
                entered
            }
        };
        if entered != batch.len() {
            return Err(format!("{entered} of {} rows were stored", batch.len()).into());
        }
        stored = upto;
    }
    #[expect(clippy::cast_precision_loss, reason = "small counts")]
    let rate = rows as f64 / begun.elapsed().as_secs_f64();
    Ok(rate)
}

/// No two rows have the same number.
static NEXT: AtomicU64 = AtomicU64::new(1);

fn encode(corpus: &Corpus, row: usize) -> Row {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let mut id = number.to_be_bytes().to_vec();
    id.extend(rand::random::<u64>().to_be_bytes());
    let hash: Vec<u8> = (0..4).flat_map(|_| rand::random::<u64>().to_be_bytes()).collect();
    let text = |text: &'static str| Some(Bytes::from_static(text.as_bytes()));
    let long = |number: i64| Some(Bytes::copy_from_slice(&number.to_be_bytes()));
    [
        Some(id.into()),
        Some(hash.into()),
        text("bench"),
        None,
        text("{}"),
        text("all-minilm-l6-v2"),
        text("local"),
        text("document"),
        text("general_qa"),
        text("1"),
        Some(Bytes::copy_from_slice(corpus.texts[row].as_bytes())),
        long(80),
        long(0),
        Some(Element::Half.encode(corpus.vector(row)).freeze()),
    ]
}

/// The rows of a statement's parameters.
fn arrays() -> String {
    let (mut types, mut names) = (Vec::new(), Vec::new());
    for (at, (name, kind)) in (1..).zip(COLUMNS) {
        types.push(format!("${at}::{kind}[]"));
        names.push(name);
    }
    format!("SELECT * FROM unnest({}) AS input({})", types.join(", "), names.join(", "))
}

/// Keys and rows, as the service enters them; where they come from is all that differs.
fn insert(input: &str, tenant: &str, space: i64) -> String {
    format!(
        "WITH input AS ({input}), won AS (
            INSERT INTO embedding_keys (tenant_id, shard_key, embedding_id, space_no, created_at, dedup_hash)
            SELECT '{tenant}'::uuid, 0, embedding_id, {space}, now(), dedup_hash FROM input
            ON CONFLICT (tenant_id, shard_key, space_no, dedup_hash) DO NOTHING
            RETURNING embedding_id
        ), stored AS (
            INSERT INTO space_{space} (tenant_id, shard_key, created_at, embedding_id, agent_id, context_id, metadata,
                model, provider, input_type, task_type, pii_policy_version, content, tokens, cost_nano_usd, embedding,
                text_language, lexemes)
            SELECT '{tenant}'::uuid, 0, now(), embedding_id, agent_id, context_id, metadata::json,
                model, provider, input_type, task_type, pii_policy_version, content, tokens, cost_nano_usd, embedding,
                'english', to_tsvector('english'::regconfig, left(content, 65536))
            FROM input JOIN won USING (embedding_id)
        )
        SELECT embedding_id FROM won"
    )
}

fn columns(rows: &[Row]) -> Vec<Vec<Option<Binary<'_>>>> {
    let column = |at: usize| rows.iter().map(|row| row[at].as_deref().map(Binary)).collect();
    (0..COLUMNS.len()).map(column).collect()
}

fn parameters<'a>(columns: &'a [Vec<Option<Binary<'a>>>]) -> Vec<&'a (dyn ToSql + Sync)> {
    columns.iter().map(|column| column as &(dyn ToSql + Sync)).collect()
}

async fn copy(client: &Client, rows: &[Row]) -> Result<(), SearchError> {
    let mut sink = pin!(client.copy_in::<_, Bytes>("COPY staged FROM STDIN (FORMAT binary)").await?);
    let mut out = BytesMut::with_capacity(COPIED_AT_ONCE + 8_192);
    out.put_slice(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0");
    for row in rows {
        out.put_i16(i16::try_from(row.len())?);
        for value in row {
            match value {
                Some(value) => {
                    out.put_i32(i32::try_from(value.len())?);
                    out.put_slice(value);
                }
                None => out.put_i32(-1),
            }
        }
        if out.len() >= COPIED_AT_ONCE {
            sink.send(out.split().freeze()).await?;
        }
    }
    out.put_i16(-1);
    sink.send(out.freeze()).await?;
    sink.finish().await?;
    Ok(())
}

/// A value of any type, in the binary form of that type.
#[derive(Debug)]
struct Binary<'a>(&'a [u8]);

impl ToSql for Binary<'_> {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.put_slice(self.0);
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

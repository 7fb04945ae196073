//! Plain pgvector: a table that `COPY` fills and `pgbench` searches. The floor that the service is held against.

use std::{
    path::{Path, PathBuf},
    pin::pin,
    time::{Duration, Instant},
};

use bytes::{BufMut as _, Bytes, BytesMut};
use futures::SinkExt as _;
use half::f16;
use tokio::{process::Command, task::JoinSet};
use tokio_postgres::{
    Client, NoTls,
    binary_copy::BinaryCopyInWriter,
    types::{IsNull, ToSql, Type, to_sql_checked},
};

use super::{
    K, SearchError,
    corpus::Corpus,
    figures::{Figures, Run},
    truth,
};

/// How much of a `COPY` is sent at once.
const COPIED_AT_ONCE: usize = 256 << 10;

/// The precision of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// `halfvec`.
    Half,
    /// `vector`.
    Float,
}

impl Element {
    /// The type of its column, without dimensions.
    #[must_use]
    pub const fn sql(self) -> &'static str {
        match self {
            Self::Half => "halfvec",
            Self::Float => "vector",
        }
    }

    /// The binary form of a vector.
    #[must_use]
    pub fn encode(self, vector: &[f32]) -> BytesMut {
        let mut out = BytesMut::with_capacity(4 + 4 * vector.len());
        out.put_u16(u16::try_from(vector.len()).unwrap_or(u16::MAX));
        out.put_u16(0);
        match self {
            Self::Half => vector.iter().for_each(|x| out.put_u16(f16::from_f32(*x).to_bits())),
            Self::Float => vector.iter().for_each(|x| out.put_f32(*x)),
        }
        out
    }
}

/// Tables of rows and queries in a database.
#[derive(Debug)]
pub struct Raw<'a> {
    client: Client,
    url: &'a str,
    pgbench: PathBuf,
    folder: &'a Path,
    corpus: &'a Corpus,
    truth: &'a [std::collections::HashSet<usize>],
    seconds: u64,
    _connection: JoinSet<Result<(), tokio_postgres::Error>>,
}

impl<'a> Raw<'a> {
    /// Connects; `bin` holds `pgbench`, `folder` takes its scripts.
    ///
    /// # Errors
    /// When PostgreSQL cannot be reached.
    pub async fn connect(
        url: &'a str,
        bin: &Path,
        folder: &'a Path,
        (corpus, truth): (&'a Corpus, &'a [std::collections::HashSet<usize>]),
        seconds: u64,
    ) -> Result<Self, SearchError> {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(connection);
        client
            .batch_execute(
                "CREATE EXTENSION IF NOT EXISTS vector; CREATE SCHEMA raw; SET search_path = raw, public",
            )
            .await?;
        let pgbench = bin.join("pgbench");
        Ok(Self { client, url, pgbench, folder, corpus, truth, seconds, _connection: tasks })
    }

    /// Makes the tables of one element and fills them; returns rows a second, by an encoder of this bench's own and by the one that
    /// comes with the driver.
    ///
    /// # Errors
    /// When PostgreSQL refuses.
    pub async fn fill(&self, element: Element) -> Result<[f64; 2], SearchError> {
        let (sql, dimensions) = (element.sql(), self.corpus.vectors.len() / self.corpus.texts.len());
        let define = format!(
            "CREATE TABLE rows_{sql} (id integer NOT NULL, content text NOT NULL, embedding {sql}({dimensions}) NOT NULL);
             ALTER TABLE rows_{sql} ALTER embedding SET STORAGE MAIN;
             CREATE TABLE queries_{sql} (id integer PRIMARY KEY, embedding {sql}({dimensions}) NOT NULL)"
        );
        self.client.batch_execute(&define).await?;
        for (id, query) in (1..).zip(&self.corpus.queries) {
            let statement = format!("INSERT INTO queries_{sql} VALUES ($1, $2)");
            self.client.execute(&statement, &[&id, &Encoded(element.encode(query))]).await?;
        }
        let begun = Instant::now();
        self.copy_with_the_driver(element).await?;
        let by_the_driver = begun.elapsed();
        self.client.batch_execute(&format!("TRUNCATE rows_{sql}")).await?;
        let begun = Instant::now();
        self.copy(element).await?;
        let by_its_own = begun.elapsed();
        self.client.batch_execute(&format!("VACUUM ANALYZE rows_{sql}")).await?;
        self.client.batch_execute(&format!("ANALYZE queries_{sql}")).await?;
        #[expect(clippy::cast_precision_loss, reason = "small counts")]
        let rate = |time: Duration| self.corpus.texts.len() as f64 / time.as_secs_f64();
        Ok([rate(by_its_own), rate(by_the_driver)])
    }

    async fn copy(&self, element: Element) -> Result<(), SearchError> {
        let statement = format!("COPY rows_{} FROM STDIN (FORMAT binary)", element.sql());
        let mut sink = pin!(self.client.copy_in::<_, Bytes>(&statement).await?);
        let mut out = BytesMut::with_capacity(COPIED_AT_ONCE + 8_192);
        // the signature, no flags, no extension
        out.put_slice(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0");
        for (row, text) in self.corpus.texts.iter().enumerate() {
            out.put_i16(3);
            out.put_i32(4);
            out.put_i32(i32::try_from(row)?);
            out.put_i32(i32::try_from(text.len())?);
            out.put_slice(text.as_bytes());
            let vector = element.encode(self.corpus.vector(row));
            out.put_i32(i32::try_from(vector.len())?);
            out.put_slice(&vector);
            if out.len() >= COPIED_AT_ONCE {
                sink.send(out.split().freeze()).await?;
            }
        }
        out.put_i16(-1);
        sink.send(out.freeze()).await?;
        sink.finish().await?;
        Ok(())
    }

    async fn copy_with_the_driver(&self, element: Element) -> Result<(), SearchError> {
        let sql = element.sql();
        let vector = self.client.prepare(&format!("SELECT embedding FROM rows_{sql}")).await?.columns()[0]
            .type_()
            .clone();
        let sink = self.client.copy_in(&format!("COPY rows_{sql} FROM STDIN (FORMAT binary)")).await?;
        let mut writer = pin!(BinaryCopyInWriter::new(sink, &[Type::INT4, Type::TEXT, vector]));
        for (row, text) in self.corpus.texts.iter().enumerate() {
            let encoded = Encoded(element.encode(self.corpus.vector(row)));
            writer.as_mut().write(&[&i32::try_from(row)?, text, &encoded]).await?;
        }
        writer.finish().await?;
        Ok(())
    }

    /// Builds an index; returns how long that took and its bytes.
    ///
    /// # Errors
    /// When PostgreSQL refuses.
    pub async fn index(
        &self,
        element: Element,
        using: &str,
        with: &str,
    ) -> Result<(Duration, i64), SearchError> {
        let sql = element.sql();
        self.client
            .batch_execute(&format!(
                "DROP INDEX IF EXISTS {sql}_index; SET maintenance_work_mem = '512MB'; SET max_parallel_maintenance_workers = 2"
            ))
            .await?;
        let begun = Instant::now();
        self.client
            .batch_execute(&format!(
                "CREATE INDEX {sql}_index ON rows_{sql} USING {using} (embedding {sql}_cosine_ops) WITH ({with})"
            ))
            .await?;
        let took = begun.elapsed();
        let size = self.client.query_one(&format!("SELECT pg_relation_size('{sql}_index')"), &[]).await?;
        Ok((took, size.get(0)))
    }

    /// Searches under these settings, with one client and with sixteen.
    ///
    /// # Errors
    /// When `pgbench` or PostgreSQL fails.
    pub async fn search(
        &self,
        name: &str,
        element: Element,
        settings: &[(&str, &str)],
    ) -> Result<Figures, SearchError> {
        let recall = truth::recall(self.truth, &self.found(element, settings).await?);
        let mut runs = [Run::default(); 2];
        for (run, clients) in runs.iter_mut().zip([1, 16]) {
            *run = self.pgbench(element, settings, clients, Duration::from_secs(self.seconds)).await?;
        }
        Ok(Figures { name: format!("pgvector, {name}"), recall, runs, build: None, bytes: None })
    }

    async fn found(
        &self,
        element: Element,
        settings: &[(&str, &str)],
    ) -> Result<Vec<Vec<usize>>, SearchError> {
        for (setting, value) in settings {
            self.client.batch_execute(&format!("SET {setting} = {value}")).await?;
        }
        let sql = element.sql();
        let statement = format!("SELECT id FROM rows_{sql} ORDER BY embedding <=> $1::{sql} LIMIT {K}");
        let statement = self.client.prepare(&statement).await?;
        let mut found = Vec::with_capacity(self.corpus.queries.len());
        for query in &self.corpus.queries {
            let rows = self.client.query(&statement, &[&Encoded(element.encode(query))]).await?;
            found.push(rows.iter().filter_map(|row| usize::try_from(row.get::<_, i32>(0)).ok()).collect());
        }
        self.client.batch_execute("DISCARD PLANS").await?;
        for (setting, _) in settings {
            self.client.batch_execute(&format!("RESET {setting}")).await?;
        }
        Ok(found)
    }

    /// Searches under these settings with so many clients for a time, in whole seconds.
    ///
    /// # Errors
    /// When `pgbench` fails.
    pub async fn pgbench(
        &self,
        element: Element,
        settings: &[(&str, &str)],
        clients: u32,
        over: Duration,
    ) -> Result<Run, SearchError> {
        let sql = element.sql();
        let script = self.folder.join("search.sql");
        // the row as an application would read it
        std::fs::write(
            &script,
            format!(
                "\\set q random(1, {queries})\n\
                 SELECT n.* FROM raw.queries_{sql} q CROSS JOIN LATERAL (\
                 SELECT id, content, embedding <=> q.embedding FROM raw.rows_{sql} ORDER BY embedding <=> q.embedding LIMIT {K}\
                 ) n WHERE q.id = :q;\n",
                queries = self.corpus.queries.len(),
            ),
        )?;
        let log = self.folder.join(format!("log{clients}"));
        let options: String = settings.iter().map(|(name, value)| format!("-c {name}={value} ")).collect();
        let (clients_text, threads) = (clients.to_string(), clients.min(2).to_string());
        let seconds = over.as_secs().to_string();
        let output = Command::new(&self.pgbench)
            .args([
                "--no-vacuum",
                "--protocol=prepared",
                "--log",
                "--client",
                &clients_text,
                "--jobs",
                &threads,
            ])
            .args(["--time", &seconds])
            .arg("--log-prefix")
            .arg(&log)
            .arg("--file")
            .arg(&script)
            .arg(self.url)
            .env("PGOPTIONS", options)
            .output()
            .await?;
        if !output.status.success() {
            return Err(format!("pgbench failed: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        let mut taken = Vec::new();
        for entry in std::fs::read_dir(self.folder)? {
            let path = entry?.path();
            let is_log = path.file_name().and_then(|name| name.to_str()).is_some_and(|name| {
                name.strip_prefix(&format!("log{clients}")).is_some_and(|rest| rest.starts_with('.'))
            });
            if is_log {
                // client, transaction, microseconds, …
                let log = std::fs::read_to_string(&path)?;
                let micros = log.lines().filter_map(|line| line.split(' ').nth(2)?.parse().ok());
                taken.extend(micros.map(Duration::from_micros));
                std::fs::remove_file(path)?;
            }
        }
        Ok(Run::of(taken, over))
    }

    /// Gives the memory and the disk back.
    ///
    /// # Errors
    /// When PostgreSQL refuses.
    pub async fn clear(&self) -> Result<(), SearchError> {
        Ok(self.client.batch_execute("DROP SCHEMA raw CASCADE").await?)
    }
}

/// A vector in its binary form.
#[derive(Debug)]
struct Encoded(BytesMut);

impl ToSql for Encoded {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.put_slice(&self.0);
        Ok(IsNull::No)
    }

    fn accepts(of: &Type) -> bool {
        matches!(of.name(), "halfvec" | "vector")
    }

    to_sql_checked!();
}

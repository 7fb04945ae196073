//! Fills plain pgvector and vector-store with the same real text, searches both, prints one table.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use clap::Parser;
use embermesh_bench::{
    rounds::bar::{Bar, table},
    search::{
        SearchError,
        corpus::Corpus,
        figures::{self, Figures},
        leaving,
        raw::{Element, Raw},
        served::{self, Served},
        tenants, truth,
        turns::{self, Turn},
        ways,
    },
};
use embermesh_private_postgres::{Options, PrivatePostgres, test_options};
use secrecy::ExposeSecret as _;
use tokio_postgres::NoTls;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Search bench: recall, throughput and latency of vector-store beside plain pgvector.
#[derive(Parser)]
struct Arguments {
    /// Texts as JSON lines
    #[arg(long)]
    corpus: PathBuf,
    /// Where their vectors are kept
    #[arg(long)]
    vectors: PathBuf,
    /// Folder of the local model's weights
    #[arg(long)]
    weights: PathBuf,
    /// Folder of PostgreSQL's programs
    #[arg(long)]
    postgres: PathBuf,
    /// Rows to store
    #[arg(long, default_value_t = 100_000)]
    rows: usize,
    /// Searches to judge recall by
    #[arg(long, default_value_t = 500)]
    queries: usize,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Small tenants to make; 0 leaves that part out
    #[arg(long, default_value_t = 5_000)]
    tenants: usize,
    /// Only embed the texts
    #[arg(long)]
    only_embed: bool,
    /// Leave plain pgvector out, but for the index that bars are held against
    #[arg(long)]
    brief: bool,
    /// Times that the service's index and plain pgvector's are searched by turns
    #[arg(long, default_value_t = 3)]
    turns: usize,
    /// Only search by turns
    #[arg(long)]
    only_turns: bool,
    /// Write the tables as Markdown
    #[arg(long)]
    markdown: Option<PathBuf>,
}

// as pgbench: what the driver takes of the cores is taken from what is measured
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(&Arguments::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("bench-search: a bar was missed");
            ExitCode::FAILURE
        }
        Err(error) => {
            let (mut text, mut cause) = (error.to_string(), error.source());
            while let Some(deeper) = cause {
                text = format!("{text}: {deeper}");
                cause = deeper.source();
            }
            eprintln!("bench-search: {text}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<bool, SearchError> {
    let counts = (arguments.rows, arguments.queries);
    let corpus = Corpus::load(&arguments.corpus, &arguments.vectors, &arguments.weights, counts).await?;
    if arguments.only_embed {
        return Ok(true);
    }
    let folder = tempfile::TempDir::new()?;
    let options =
        Options { durable: true, stop_on_drop: true, ..test_options(&folder.path().join("postgres")) };
    let postgres = PrivatePostgres::start(options).await?;
    let url = postgres.connection_url().expose_secret().to_owned();
    let mut bench = Bench {
        arguments,
        corpus: Arc::new(corpus),
        url,
        folder: folder.path().to_owned(),
        figures: Vec::new(),
        bars: Vec::new(),
    };
    bench.tune().await?;
    if !arguments.only_turns {
        bench.plain().await?;
    }
    bench.service().await?;
    let (rows, queries) = counts;
    let text = format!(
        "{rows} rows, {queries} searches to judge recall by.\n\n{}\n{}",
        figures::table(&bench.figures),
        table(&bench.bars)
    );
    println!("{text}");
    if let Some(path) = &arguments.markdown {
        std::fs::write(path, text)?;
    }
    let kept = bench.bars.iter().all(|bar| bar.kept);
    postgres.stop().await?;
    Ok(kept)
}

struct Bench<'a> {
    arguments: &'a Arguments,
    corpus: Arc<Corpus>,
    url: String,
    folder: PathBuf,
    figures: Vec<Figures>,
    bars: Vec<Bar>,
}

impl Bench<'_> {
    async fn sql(&self, statements: &str) -> Result<(), SearchError> {
        let (client, connection) = tokio_postgres::connect(&self.url, NoTls).await?;
        tokio::select! {
            ended = connection => Err(format!("the connection ended: {ended:?}").into()),
            outcome = client.batch_execute(statements) => Ok(outcome?),
        }
    }

    async fn number(&self, statement: &str) -> Result<i64, SearchError> {
        let (client, connection) = tokio_postgres::connect(&self.url, NoTls).await?;
        tokio::select! {
            ended = connection => Err(format!("the connection ended: {ended:?}").into()),
            outcome = client.query_one(statement, &[]) => Ok(outcome?.get(0)),
        }
    }

    /// Both sides search the same server: a parallel scan of one client would take the cores of the others.
    async fn tune(&self) -> Result<(), SearchError> {
        self.sql("ALTER SYSTEM SET max_parallel_workers_per_gather = 0").await?;
        self.sql("SELECT pg_reload_conf()").await
    }

    async fn plain(&mut self) -> Result<(), SearchError> {
        let truth = truth::nearest(&self.corpus, self.arguments.rows);
        let scripts = tempfile::TempDir::new()?;
        let bin = self.arguments.postgres.join("bin");
        let raw =
            Raw::connect(&self.url, &bin, scripts.path(), (&self.corpus, &truth), self.arguments.seconds)
                .await?;
        let mut figures = Vec::new();
        let mut bars = Vec::new();
        for element in [Element::Half, Element::Float] {
            if self.arguments.brief && element == Element::Float {
                continue;
            }
            let name = element.sql();
            let [own, driver] = raw.fill(element).await?;
            bars.push(Bar::told(name, "COPY, rows/s, encoded in large pieces", format!("{own:.0}")));
            bars.push(Bar::told(name, "COPY, rows/s, by the driver's writer", format!("{driver:.0}")));
            if !self.arguments.brief {
                eprintln!("bench-search: pgvector, {name}, exact");
                figures.push(raw.search(&format!("{name}, exact"), element, &[]).await?);
            }
            eprintln!("bench-search: pgvector, {name}, hnsw");
            let (took, bytes) = raw.index(element, "hnsw", "m = 16, ef_construction = 64").await?;
            for ef in ["40", "60", "80", "100", "120", "160"] {
                if self.arguments.brief && !["80", "100", "120", "160"].contains(&ef) {
                    continue;
                }
                let found =
                    raw.search(&format!("{name}, hnsw, ef {ef}"), element, &[("hnsw.ef_search", ef)]).await?;
                figures.push(Figures { build: Some(took), bytes: Some(bytes), ..found });
            }
            if self.arguments.brief {
                continue;
            }
            eprintln!("bench-search: pgvector, {name}, ivfflat");
            let lists = (self.arguments.rows / 1_000).max(1);
            let (took, bytes) = raw.index(element, "ivfflat", &format!("lists = {lists}")).await?;
            for probes in ["10", "20", "40"] {
                let found = raw
                    .search(
                        &format!("{name}, ivfflat, {probes} of {lists} lists"),
                        element,
                        &[("ivfflat.probes", probes)],
                    )
                    .await?;
                figures.push(Figures { build: Some(took), bytes: Some(bytes), ..found });
            }
        }
        raw.clear().await?;
        self.figures.extend(figures);
        self.bars.extend(bars);
        Ok(())
    }

    async fn service(&mut self) -> Result<(), SearchError> {
        let (corpus, rows, seconds) = (Arc::clone(&self.corpus), self.arguments.rows, self.arguments.seconds);
        let bin = std::env::current_exe()?.parent().ok_or("this program lies in no folder")?.to_owned();
        let pool = "pool: {max_open_conns: 20, max_idle_conns: 20}";
        eprintln!("bench-search: vector-store, filling");
        let served =
            Served::start(&bin, &self.folder, &self.url, &format!("{{maintenance_seconds: 3600, {pool}}}"))
                .await?;
        let (large, small) = (served.tenant(1)?, served.tenant(2)?);
        let rate = large.put(&corpus, 0..rows).await?;
        self.bars.push(Bar::told("vector-store", "put without index, rows/s", format!("{rate:.0}")));
        let few = rows / 100;
        small.put(&corpus, 0..few).await?;
        if !self.arguments.only_turns {
            self.store_batches(&served).await?;
        }
        self.sql("VACUUM ANALYZE").await?;
        let truth = truth::nearest(&corpus, rows);
        if !self.arguments.only_turns {
            eprintln!("bench-search: vector-store, exact");
            let (found, scan) = large.found(&corpus, true).await?;
            let recall = truth::recall(&truth, &found);
            self.measure(&format!("vector-store, {scan}"), &large, true, recall).await?;
        }
        served.stop().await?;

        eprintln!("bench-search: vector-store, building its index");
        let begun = Instant::now();
        let hnsw =
            format!("hnsw: {{min_rows: {}, build_memory_mb: 512, build_workers: 2}}", rows.min(20_000));
        let hasty = format!("{{maintenance_seconds: 1, {pool}, {hnsw}}}");
        let served = Served::start(&bin, &self.folder, &self.url, &hasty).await?;
        let indexed = "SELECT coalesce(sum(pg_relation_size(i.indexrelid)), 0)::bigint FROM pg_index i
            JOIN pg_class c ON c.oid = i.indexrelid WHERE c.relname LIKE '%\\_hnsw' AND i.indisvalid";
        let bytes = loop {
            match self.number(indexed).await? {
                0 if begun.elapsed() > Duration::from_secs(900) => {
                    return Err("no index after 15 minutes".into());
                }
                0 => tokio::time::sleep(Duration::from_millis(100)).await,
                bytes => break bytes,
            }
        };
        let build = begun.elapsed();
        // how much has to be looked at is measured next, and known a round of maintenance later
        let measured = "SELECT count(*) FROM store.index_recall";
        while self.number(measured).await? == 0 {
            if begun.elapsed() > Duration::from_secs(900) {
                return Err("no measured recall after 15 minutes".into());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        // that of words may come next
        tokio::time::sleep(Duration::from_secs(3)).await;
        while self.number("SELECT count(*) FROM pg_stat_progress_create_index").await? > 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        served.stop().await?;
        // a round of maintenance each second is no part of what a search costs
        let served = Served::start(&bin, &self.folder, &self.url, &format!("{{{pool}, {hnsw}}}")).await?;
        let (large, small) = (served.tenant(1)?, served.tenant(2)?);
        let (found, scan) = large.found(&corpus, false).await?;
        let recall = truth::recall(&truth, &found);
        self.measure(&format!("vector-store, {scan}"), &large, false, recall).await?;
        if let Some(last) = self.figures.last_mut() {
            (last.build, last.bytes) = (Some(build), Some(bytes));
        }
        let ef = self.number("SELECT max(ef_search)::bigint FROM store.index_recall").await?;
        if let Some(last) = self.figures.last_mut() {
            last.name = format!("{}, ef {ef} by its own measurement", last.name);
        }
        self.hold(&large, recall, ef).await?;
        if self.arguments.only_turns {
            return served.stop().await;
        }

        eprintln!("bench-search: vector-store, a tenant of 1 %");
        let truth = truth::nearest(&corpus, few);
        let (found, scan) = small.found(&corpus, false).await?;
        let recall = truth::recall(&truth, &found);
        let complete = found.iter().all(|rows| rows.len() == 10);
        self.measure(&format!("vector-store, tenant of {few} rows, {scan}"), &small, false, recall).await?;
        let one = self.figures.last().map(|last| last.runs[0]).unwrap_or_default();
        self.bars.push(Bar::none(
            "1 % tenant",
            "searches with fewer than 10 of 10",
            usize::from(!complete),
            None,
        ));
        // half precision may swap two rows that are equally far
        self.bars.push(Bar::at_most("1 % tenant", "recall missing", 1.0 - recall, 0.001, ""));
        self.bars.push(Bar::at_most(
            "1 % tenant",
            "p99, one client",
            one.p99.as_secs_f64() * 1e3,
            10.0,
            "ms",
        ));

        served.stop().await?;
        let served = Served::start(&bin, &self.folder, &self.url, &hasty).await?;
        let live = served.tenant(3)?.put(&corpus, 0..(rows / 20)).await?;
        self.bars.push(Bar::told("vector-store", "put into an indexed month, rows/s", format!("{live:.0}")));
        self.month_leaves(&bin, &served, indexed).await?;
        if self.arguments.tenants > 0 {
            self.tenants(&served, seconds).await?;
        }
        served.stop().await
    }

    /// Batches of many rows, over streams and in other ways, in a space that is empty afterwards.
    async fn store_batches(&mut self, served: &Served) -> Result<(), SearchError> {
        eprintln!("bench-search: batches of many rows");
        let corpus = Arc::clone(&self.corpus);
        for (number, batch) in (11..).zip([1_000, 5_000, 20_000]) {
            let tenant = served.tenant(number)?.in_space("bench/all-minilm-l6-v2-in-batches@384");
            let rate = tenant.put_streams(&corpus, 0..self.arguments.rows, batch).await?;
            let what = format!("PutStream without index, batches of {batch}, rows/s");
            self.bars.push(Bar::told("vector-store", &what, format!("{rate:.0}")));
        }
        let space = self.number("SELECT max(space_no)::bigint FROM store.spaces").await?;
        let away = format!("DELETE FROM store.embedding_keys WHERE space_no = {space}");
        self.sql(&format!("TRUNCATE store.space_{space}; {away}")).await?;
        for (what, rate) in ways::compare(&self.url, &corpus, space).await? {
            self.bars.push(Bar::told("the same tables", &what, format!("{rate:.0}")));
        }
        Ok(())
    }

    async fn measure(
        &mut self,
        name: &str,
        tenant: &served::Tenant,
        exact: bool,
        recall: f64,
    ) -> Result<(), SearchError> {
        let mut runs = [Default::default(); 2];
        for (run, clients) in runs.iter_mut().zip([1, 16]) {
            let callers = vec![tenant.clone(); clients];
            *run = served::run(&callers, &self.corpus, exact, Duration::from_secs(self.arguments.seconds))
                .await?;
        }
        self.figures.push(Figures { name: name.to_owned(), recall, runs, build: None, bytes: None });
        Ok(())
    }

    /// The service's index against the promise, and against plain pgvector that looks at as many candidates.
    async fn hold(&mut self, tenant: &served::Tenant, recall: f64, ef: i64) -> Result<(), SearchError> {
        let ours = self.figures.last().ok_or("nothing was measured")?.runs[1].searches;
        self.bars.push(Bar::at_most("hnsw", "recall missing", 1.0 - recall, 0.01, ""));
        self.bars.push(Bar::at_most(
            "hnsw",
            "QPS missing to 600, 16 clients",
            (600.0 - ours).max(0.0),
            0.0,
            "",
        ));
        eprintln!("bench-search: pgvector and vector-store by turns, ef {ef}");
        let Arguments { turns, seconds, .. } = *self.arguments;
        let programs = self.arguments.postgres.join("bin");
        let measured =
            turns::by_turns(&self.url, &programs, &self.corpus, (tenant, ef), (turns, seconds)).await?;
        let sides = |turn: &Turn| format!("{:.0} : {:.0}", turn.plain, turn.served);
        let sides: Vec<String> = measured.iter().map(sides).collect();
        self.bars.push(Bar::told("hnsw", "QPS, pgvector : vector-store, by turns", sides.join(", ")));
        let lost = 100.0 * Turn::lost(&measured, |turn| turn.served);
        self.bars.push(Bar::at_most("hnsw", "QPS lost to plain pgvector, 16 clients", lost, 15.0, "%"));
        let strict = format!("{:.2} %", 100.0 * Turn::lost(&measured, |turn| turn.strict));
        self.bars.push(Bar::told("hnsw", "QPS lost by `read_your_writes`", strict));
        Ok(())
    }

    async fn month_leaves(&mut self, bin: &Path, served: &Served, indexed: &str) -> Result<(), SearchError> {
        eprintln!("bench-search: a month leaves");
        let bytes = self.number(indexed).await?;
        leaving::make(&self.url).await?;
        let begun = Instant::now();
        while self.number(indexed).await? <= bytes && begun.elapsed() < Duration::from_secs(300) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let (binary, callers) =
            (bin.join("embermesh-vector-store"), (&served.tenant(1)?, &served.tenant(4)?));
        let noticed = leaving::watch(&self.url, &binary, &self.folder, callers, &self.corpus).await?;
        let name = format!("a month of {} rows leaves", leaving::ROWS.min(self.arguments.rows));
        let failed = &noticed.failed;
        self.bars.push(Bar::none(&name, "failed requests", failed.len(), failed.first().map(String::as_str)));
        let wait = noticed.longest_wait.as_secs_f64();
        self.bars.push(Bar::at_most(&name, "longest wait for a lock", wait, 1.0, "s"));
        let under = format!(
            "{} searches, {} puts in {:.1} s",
            noticed.searches,
            noticed.stored,
            noticed.took.as_secs_f64()
        );
        self.bars.push(Bar::told(&name, "under way meanwhile", under));
        Ok(())
    }

    async fn tenants(&mut self, served: &Served, seconds: u64) -> Result<(), SearchError> {
        let (few, all) = (self.arguments.tenants / 100, self.arguments.tenants);
        let corpus = Arc::clone(&self.corpus);
        let indexes = "SELECT count(*) FROM pg_indexes WHERE schemaname = 'store'";
        tenants::fill(served, &corpus, 0..few).await?;
        // with those that their space is made with
        let before = self.number(indexes).await?;
        let at_first = tenants::search(served, &corpus, few, 1, seconds).await?;
        eprintln!("bench-search: filling {all} tenants");
        let rate = tenants::fill(served, &corpus, few..all).await?;
        self.sql("VACUUM ANALYZE").await?;
        let name = format!("{all} tenants of {} rows", tenants::ROWS);
        self.bars.push(Bar::told(&name, "put, rows/s", format!("{rate:.0}")));
        let (one, many) = (
            tenants::search(served, &corpus, all, 1, seconds).await?,
            tenants::search(served, &corpus, all, 16, seconds).await?,
        );
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        self.bars.push(Bar::told(
            &name,
            "p50 of one client while they were 1 %",
            format!("{:.2} ms", ms(at_first.p50)),
        ));
        self.bars.push(Bar::told(&name, "p50 of one client", format!("{:.2} ms", ms(one.p50))));
        self.bars.push(Bar::at_most(&name, "p99 of one client", ms(one.p99), 10.0, "ms"));
        self.bars.push(Bar::told(
            &name,
            "16 clients",
            format!("{:.0} QPS, p99 {:.2} ms", many.searches, ms(many.p99)),
        ));
        let more = self.number(indexes).await? - before;
        #[expect(clippy::cast_precision_loss, reason = "small counts")]
        self.bars.push(Bar::at_most(&name, "indexes more", more as f64, 0.0, ""));
        Ok(())
    }
}

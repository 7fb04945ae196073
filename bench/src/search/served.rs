//! The service as a process of its own, searched over gRPC.

use std::{
    collections::HashMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use embermesh_auth::{Principal, Scopes};
use embermesh_lifecycle::Tasks;
use embermesh_proto::{
    internal::v1::{
        PutReply, PutRequest, PutResult, PutRow, StoreFilter, StoreRead, StoreSearchReply,
        StoreSearchRequest, store_client::StoreClient,
    },
    to_le_bytes,
};
use embermesh_transport::{CallContext, Endpoint, MAX_MESSAGE_BYTES, Transport};
use embermesh_types::TenantId;
use futures::{StreamExt as _, TryStreamExt as _, future::try_join_all, stream};
use tokio::task::JoinSet;

use super::{
    K, SearchError,
    corpus::Corpus,
    figures::Run,
    lean::{self, Lean},
};
use crate::faults::service::{Service, ServiceSpec, port};

/// Rows of one call.
pub const BATCH: usize = 256;
/// Calls under way.
const WRITERS: usize = 2;

/// A running vector-store.
#[derive(Debug)]
pub struct Served {
    service: Service,
    endpoint: Endpoint,
    _tasks: Tasks,
    transport: Transport,
    space: String,
}

impl Served {
    /// Starts it on a database; `settings` are of the section `store`, in YAML's flow style.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start(bin: &Path, folder: &Path, url: &str, settings: &str) -> Result<Self, SearchError> {
        static NUMBER: AtomicUsize = AtomicUsize::new(1);
        std::fs::write(
            folder.join("embermesh.yaml"),
            format!("logging: {{level: warn}}\nstore: {settings}\n"),
        )?;
        let spec = ServiceSpec {
            binary: "vector-store",
            name: format!("vector-store_{}", NUMBER.fetch_add(1, Ordering::Relaxed)),
            bin,
            folder,
            port: port()?,
            environment: vec![("DATABASE_URL", url.to_owned())],
        };
        let mut service = Service::start(spec)?;
        service.ready().await?;
        let endpoint = Endpoint::parse(&service.url())?;
        let tasks = Tasks::new();
        let transport = endpoint.connect(None, &tasks)?;
        Ok(Self {
            service,
            endpoint,
            _tasks: tasks,
            transport,
            space: "bench/all-minilm-l6-v2@384".to_owned(),
        })
    }

    /// Ends it.
    ///
    /// # Errors
    /// When it ended before.
    pub async fn stop(mut self) -> Result<(), SearchError> {
        self.service.kill().await
    }

    /// Kills it with SIGKILL, and starts it again after a time; returns when it is ready. Its database may be away meanwhile.
    ///
    /// # Errors
    /// When it does not come back.
    pub async fn die(&mut self, down: Duration) -> Result<(), SearchError> {
        self.service.kill().await?;
        tokio::time::sleep(down).await;
        self.service.start_again()?;
        self.service.ready_under_supervision().await?;
        Ok(())
    }

    /// A tenant of this number. Sixteen of them do not share a connection more than sixteen clients would.
    ///
    /// # Errors
    /// Never, in practice.
    pub fn tenant(&self, number: usize) -> Result<Tenant, SearchError> {
        let tenant: TenantId = format!("0192d5a0-0000-7000-8000-{number:012x}").parse()?;
        let context = CallContext {
            principal: Principal { tenant, key: "key".parse()?, agent: None, scopes: Scopes::default() },
            request_id: "bench".parse()?,
            deadline: None,
        };
        let transport = self.transport.clone();
        let client = StoreClient::new(transport.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        Ok(Tenant { client, transport, context, space: self.space.clone(), reads: Reads::Eventual })
    }

    /// Where it listens.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }
}

/// What a search has to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// What the gateway asks for unless its client says otherwise.
    Eventual,
    /// Everything that was acknowledged.
    YourWrites,
}

/// A caller of the service.
#[derive(Clone, Debug)]
pub struct Tenant {
    client: StoreClient<Transport>,
    transport: Transport,
    context: CallContext,
    space: String,
    reads: Reads,
}

impl Tenant {
    /// The same tenant, working in another space of as many dimensions.
    #[must_use]
    pub fn in_space(self, space: &str) -> Self {
        Self { space: space.to_owned(), ..self }
    }

    /// The same tenant, whose searches see this.
    #[must_use]
    pub fn reading(self, reads: Reads) -> Self {
        Self { reads, ..self }
    }

    /// The same tenant through a client that costs little.
    #[must_use]
    pub fn lean(&self) -> Lean {
        Lean::new(self.transport.clone(), self.context.clone())
    }

    /// Stores these rows of the corpus, some calls at a time; returns rows a second.
    ///
    /// # Errors
    /// When a call fails.
    pub async fn put(&self, corpus: &Corpus, rows: std::ops::Range<usize>) -> Result<f64, SearchError> {
        let (begun, count) = (Instant::now(), rows.len());
        let all: Vec<usize> = rows.collect();
        let calls = all.chunks(BATCH).map(|batch| self.put_batch(corpus, batch));
        stream::iter(calls.collect::<Vec<_>>()).buffer_unordered(WRITERS).try_collect::<Vec<()>>().await?;
        #[expect(clippy::cast_precision_loss, reason = "small counts")]
        let rate = count as f64 / begun.elapsed().as_secs_f64();
        Ok(rate)
    }

    /// Stores these rows of the corpus over streams, in batches of so many rows; returns rows a second.
    ///
    /// # Errors
    /// When a stream fails.
    pub async fn put_streams(
        &self,
        corpus: &Arc<Corpus>,
        rows: std::ops::Range<usize>,
        batch: usize,
    ) -> Result<f64, SearchError> {
        let (begun, count) = (Instant::now(), rows.len());
        let shares: Vec<Vec<usize>> =
            (0..WRITERS).map(|writer| rows.clone().skip(writer).step_by(WRITERS).collect()).collect();
        let streams = shares.into_iter().map(|share| async move {
            let (space, corpus, expected) =
                (self.space.clone(), Arc::clone(corpus), share.len().div_ceil(batch));
            let batches = (0..expected).map(move |at| {
                let end = share.len().min((at + 1) * batch);
                let rows = share[at * batch..end].iter().map(|row| put_row(&corpus, *row));
                PutRequest { space_id: space.clone(), dimensions: 384, rows: rows.collect() }
            });
            let request = self.context.request(stream::iter(batches));
            let answers = self.client.clone().put_stream(request).await?.into_inner();
            let answers: Vec<PutReply> = answers.try_collect().await?;
            if answers.len() != expected {
                return Err(format!("{} of {expected} batches were answered", answers.len()).into());
            }
            Ok::<_, SearchError>(())
        });
        try_join_all(streams).await?;
        #[expect(clippy::cast_precision_loss, reason = "small counts")]
        let rate = count as f64 / begun.elapsed().as_secs_f64();
        Ok(rate)
    }

    /// Stores rows in one call.
    ///
    /// # Errors
    /// When it fails.
    pub async fn put_batch(&self, corpus: &Corpus, rows: &[usize]) -> Result<(), SearchError> {
        let rows = rows.iter().map(|row| put_row(corpus, *row)).collect();
        self.put_rows(&self.space, 384, rows).await?;
        Ok(())
    }

    /// Stores rows of any space in one call; returns what became of each.
    ///
    /// # Errors
    /// When the call fails.
    pub async fn put_rows(
        &self,
        space: &str,
        dimensions: u32,
        rows: Vec<PutRow>,
    ) -> Result<Vec<PutResult>, SearchError> {
        let request = PutRequest { space_id: space.to_owned(), dimensions, rows };
        Ok(self.client.clone().put(self.context.request(request)).await?.into_inner().results)
    }

    /// The rows nearest to a query.
    ///
    /// # Errors
    /// When the call fails.
    pub async fn search(&self, query: &[f32], exact: bool) -> Result<StoreSearchReply, SearchError> {
        let request = self.context.request(self.request(query, exact)?);
        Ok(self.client.clone().search(request).await?.into_inner())
    }

    /// The message that asks for the rows nearest to a query.
    ///
    /// # Errors
    /// Never, in practice.
    pub fn request(&self, query: &[f32], exact: bool) -> Result<StoreSearchRequest, SearchError> {
        Ok(StoreSearchRequest {
            space_id: self.space.clone(),
            query: to_le_bytes(query),
            filter: Some(StoreFilter::default()),
            limit: u32::try_from(K)?,
            exact,
            read: Some(StoreRead { eventual: self.reads == Reads::Eventual, ..StoreRead::default() }),
            ..StoreSearchRequest::default()
        })
    }

    /// What every query finds, as numbers of rows, and how it was found.
    ///
    /// # Errors
    /// When a call fails.
    pub async fn found(
        &self,
        corpus: &Corpus,
        exact: bool,
    ) -> Result<(Vec<Vec<usize>>, String), SearchError> {
        let numbers: HashMap<&str, usize> =
            corpus.texts.iter().enumerate().map(|(row, text)| (text.as_str(), row)).collect();
        let (mut found, mut scan) = (Vec::with_capacity(corpus.queries.len()), String::new());
        for query in &corpus.queries {
            let reply = self.search(query, exact).await?;
            let contents =
                reply.hits.iter().filter_map(|hit| hit.row.as_ref()).map(|row| row.content.as_str());
            found.push(contents.filter_map(|content| numbers.get(content).copied()).collect());
            scan = reply.scan;
        }
        Ok((found, scan))
    }
}

fn put_row(corpus: &Corpus, row: usize) -> PutRow {
    PutRow {
        agent_id: "bench".into(),
        content: corpus.texts[row].clone(),
        metadata: "{}".into(),
        model: "all-minilm-l6-v2".into(),
        provider: "local".into(),
        input_type: "document".into(),
        task_type: "general_qa".into(),
        pii_policy_version: "1".into(),
        tokens: 80,
        vector: to_le_bytes(corpus.vector(row)),
        ..PutRow::default()
    }
}

/// Lets as many clients as there are callers search one after another for a time.
///
/// # Errors
/// When a search fails, or the last of a client finds too little.
pub async fn run(
    callers: &[Tenant],
    corpus: &Arc<Corpus>,
    exact: bool,
    over: Duration,
) -> Result<Run, SearchError> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut clients = Vec::with_capacity(callers.len());
    for caller in callers {
        let request = |query: &Vec<f32>| Ok::<_, SearchError>(lean::encode(&caller.request(query, exact)?));
        let requests: Vec<Bytes> = corpus.queries.iter().map(request).collect::<Result<_, _>>()?;
        clients.push((caller.lean(), requests));
    }
    let until = Instant::now() + over;
    let mut running = JoinSet::new();
    for (mut client, requests) in clients {
        let next = Arc::clone(&next);
        running.spawn(async move {
            let (mut taken, mut last) = (Vec::new(), Bytes::new());
            while Instant::now() < until {
                let request = &requests[next.fetch_add(1, Ordering::Relaxed) % requests.len()];
                let begun = Instant::now();
                last = client.search(request.clone()).await?;
                taken.push(begun.elapsed());
            }
            let hits = lean::decode(last)?.hits.len();
            if hits != K {
                return Err(format!("a search found {hits} rows").into());
            }
            Ok::<_, SearchError>(taken)
        });
    }
    let mut taken = Vec::new();
    for client in running.join_all().await {
        taken.extend(client?);
    }
    Ok(Run::of(taken, over))
}

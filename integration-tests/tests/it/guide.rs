//! The operations guide, item by item: its commands against a live system, and the table of what came of each.

mod alerts;
mod book;
mod configuration;
mod deployment;
mod extension;
mod maintenance;
mod monitoring;
mod performance;
mod recovery;
mod security;
mod system;
mod trace;
mod troubleshooting;

use book::Book;
use system::System;

use crate::{readme::blocks, running::root};

/// Commands are waited for in this thread; providers are simulated in the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_item_of_the_operations_guide_is_run_or_says_what_it_would_need() {
    let system = System::start().await;
    let mut book = Book::default();
    deployment::rows(&mut book, &system).await;
    configuration::rows(&mut book, &system).await;
    monitoring::rows(&mut book, &system).await;
    performance::rows(&mut book, &system).await;
    troubleshooting::rows(&mut book, &system).await;
    maintenance::rows(&mut book, &system).await;
    recovery::rows(&mut book, &system).await;
    security::rows(&mut book, &system).await;
    the_sql_of_the_document_runs(&system).await;
    book.close();
}

/// Every query of `docs/operations.md`, in psql as an operator; its shell blocks are run by the test of the README.
async fn the_sql_of_the_document_runs(system: &System) {
    let text = std::fs::read_to_string(root().join("docs/operations.md")).unwrap();
    let mut run = 0;
    for block in blocks(&text).iter().filter(|block| block.language == "sql") {
        if block.text.trim() == extension::SLOW {
            continue;
        }
        system.psql(&block.text).await;
        run += 1;
    }
    assert!(run > 2, "the document has lost its queries");
}

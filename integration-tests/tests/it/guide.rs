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

#[tokio::test]
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
    book.close();
}

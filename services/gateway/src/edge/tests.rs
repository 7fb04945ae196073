//! The edge as clients see it, over a stand-in for the embeddings service.

mod api_page;
mod conventions;
mod forwarding;
mod grpc;
mod harness;
mod hostile;
mod openapi;
mod operations;
mod router_operations;
mod scopes;

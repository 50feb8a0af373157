//! HTTP for operators: metrics, health, an API in JSON, and credentials for applications.
//!
//! It runs beside the workers on a thread of its own: it reads what they count and asks them by way of the [`Service`](crate::service::Service),
//! and none of them waits for it. What is protocol and what is policy is decided elsewhere; here is decided who may ask
//! ([`guard`]).
//!
//! Five doors lead in: the address of `[metrics]`, where there is little and nobody has to show anything; a unix socket,
//! where the system says who asks; a TCP address, where tokens do; the address of `[credentials]`, with nothing but those; and that of `[admin.tester]`, likewise.
//! [`Doors`] opens them while the process still may, and [`Doors::serve`] serves all of them. `api` is the list of what
//! there is, which `openapi.json` describes and a test holds against it.

mod answer;
mod api;
mod credentials;
mod doors;
mod examination;
mod guard;
mod health;
mod history;
mod http;
mod limits;
mod minting;
mod office;
mod orders;
mod page;
mod ready;
mod refusals;
mod sampler;
mod sessions;
mod settings;
mod status;
mod tester;

pub use api::routes;
pub use doors::Doors;
pub use office::Offered;
pub use tester::WORDS as TESTER_WORDS;

/// What there is to ask, for programs: OpenAPI 3.1.
pub const OPENAPI: &str = include_str!("openapi.json");

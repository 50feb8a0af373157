//! How the room server of examples/video-call gets its `iceServers`: from a hairpin that runs for good, at each door that
//! has them, and from the one it starts for a trial. With what it gets a client relays.

use crate::client::Client;
use crate::ice_servers::{Api, IceServer};
use crate::rig::{KEY, start};
use crate::server::V4;
use crate::trial::Trial;
use std::net::SocketAddr;
use std::path::Path;

fn ask(api: &Api) -> Result<Vec<IceServer>, String> {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    runtime.block_on(api.ice_servers("7"))
}

/// A client allocates with these.
fn relays(at: SocketAddr, servers: &[IceServer]) {
    let with_credential = servers.iter().find(|server| server.username.is_some());
    let server = with_credential.unwrap();
    let mut client = Client::udp(at);
    client.user = server.username.clone().unwrap();
    client.password = server.credential.clone().unwrap();
    client.allocate();
}

#[test]
fn a_running_hairpin_is_asked_with_the_token_of_a_key() {
    let running = start();
    let credentials = format!("http://127.0.0.1:{}", running.credentials);
    let operators = format!("http://127.0.0.1:{}/", running.port);
    let socket = format!("unix:{}", running.socket.display());
    for url in [&credentials, &operators, &socket] {
        let servers = ask(&Api::new(url, "web", KEY).unwrap()).unwrap();
        relays(running.server.address(), &servers);
        let name = servers.iter().find_map(|server| server.username.as_deref());
        assert!(name.unwrap().ends_with(":web:7"), "{url} {name:?}");
    }
    let wrong = ask(&Api::new(&credentials, "web", "not-the-token").unwrap());
    assert_eq!(wrong.unwrap_err(), "hairpin answers 401 Unauthorized");
}

#[test]
fn the_hairpin_of_a_trial_gives_credentials_by_the_same_api() {
    let (trial, api) = Trial::start(Path::new(env!("CARGO_BIN_EXE_hairpin"))).unwrap();
    let servers = ask(&api).unwrap();
    let urls: Vec<&String> = servers.iter().flat_map(|server| &server.urls).collect();
    for url in trial.urls() {
        assert!(urls.contains(&url), "{url} {urls:?}");
    }
    let udp = trial
        .urls()
        .iter()
        .find(|url| url.starts_with("turn:"))
        .unwrap();
    let at = udp.trim_start_matches("turn:").split('?').next().unwrap();
    let at = at
        .parse()
        .unwrap_or_else(|_| SocketAddr::new(at.parse().unwrap_or(V4), 3478));
    relays(at, &servers);
}

//! `/livez` and `/readyz`, with the sandbox on.

use crate::rig::{start, start_with};
use crate::server::free_ports;

#[test]
fn a_server_is_ready_when_each_listener_answers() {
    let running = start_with(|setup| setup.hosts(&[crate::server::V4, crate::server::V6]));
    let before = running
        .server
        .metrics()
        .get("hairpin_requests_total{method=\"binding\"}");
    assert_eq!(running.ask("GET", "/readyz", "").text, "ok\n");
    // Four listeners, each asked once, however many ask.
    for _ in 0..20 {
        assert_eq!(running.ask("GET", "/readyz", "").status, 200);
    }
    let after = running
        .server
        .metrics()
        .get("hairpin_requests_total{method=\"binding\"}");
    assert!((4..=12).contains(&(after - before)), "{before} {after}");
    assert_eq!(running.ask("GET", "/livez", "").text, "ok\n");
}

#[test]
fn tls_and_dtls_listeners_are_asked_too() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["turn.example.org".to_owned()]).unwrap();
    let (chain, key) = (
        folder.path().join("chain.pem"),
        folder.path().join("key.pem"),
    );
    std::fs::write(&chain, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let port = free_ports(2);
    let running = start_with(|setup| {
        let certificate = format!("certificate = [{{ certificate = {chain:?}, key = {key:?} }}]");
        let site = format!(
            "# listeners of other kinds\n[[listener]]\ntransport = \"auto\"\naddress = \"127.0.0.1:{port}\"\n\
             [[listener]]\ntransport = \"tls\"\naddress = \"127.0.0.1:{}\"\n\
             [[listener]]\ntransport = \"dtls\"\naddress = \"127.0.0.1:{port}\"\n",
            port + 1
        );
        setup.set("tls", &certificate).set("tls", &site)
    });
    assert_eq!(running.ask("GET", "/readyz", "").text, "ok\n");
    let metrics = running.server.metrics();
    assert!(metrics.get("hairpin_connections_total{transport=\"tls\"}") >= 1);
    assert_eq!(
        running.get("/v1/status")["certificates"][0]["names"][0],
        "turn.example.org"
    );
}

#[test]
fn a_draining_server_is_not_ready_but_alive() {
    let running = start();
    running.ask("POST", "/v1/drain", "{\"draining\":true}");
    let answer = running.ask("GET", "/readyz", "");
    assert_eq!((answer.status, answer.text.as_str()), (503, "draining\n"));
    assert_eq!(running.ask("GET", "/livez", "").status, 200);
}

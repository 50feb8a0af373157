//! Certificates that are renewed while the server runs.

use std::fs;

use rustls::pki_types::CertificateDer;

use crate::client::{TlsClient, tls};
use crate::rig::{Made, Server, certificate, from_params, params, trust};

const LISTENER: &str = "[[listener]]\ntransport = \"tls\"\naddress = \"IP:5349\"\n";

fn server(made: Made, watch: &str) -> Server {
    let reload = format!("[reload]\ninterval = \"1s\"\nwatch = \"{watch}\"\n");
    let server = Server::start(vec![made], &(LISTENER.to_owned() + &reload));
    // Whoever answers this has looked at the files for the first time.
    server.metric("hairpin_draining");
    server
}

/// A client that takes both certificates.
fn client(server: &Server, other: &Made) -> TlsClient {
    let both = [&server.certificates[0].der, &other.der];
    let config = trust(both.into_iter(), &[&rustls::version::TLS13]);
    let mut client = tls(server.connect(5349), config, "localhost");
    client.binding();
    client
}

fn shown(client: &TlsClient) -> CertificateDer<'static> {
    client.stream.conn.peer_certificates().unwrap()[0].clone()
}

#[test]
fn a_renewed_certificate_is_shown_to_new_clients_and_the_old_ones_go_on() {
    let server = server(certificate(&["localhost"]), "certificates");
    let renewed = certificate(&["localhost", "renewed.example"]);
    let mut before = client(&server, &renewed);
    server.renew(0, &renewed);
    server.expect_in_log("certificate read anew");
    assert!(shown(&client(&server, &renewed)) == renewed.der);
    assert!(shown(&before) == server.certificates[0].der);
    before.binding();
    assert!(server.log().contains("renewed.example"));
}

#[test]
fn files_that_are_replaced_by_others_are_read_like_those_written_in_place() {
    let server = server(certificate(&["localhost"]), "certificates");
    let renewed = certificate(&["localhost"]);
    for (name, text) in [("0.pem", &renewed.certificate), ("0.key", &renewed.key)] {
        fs::write(server.path("new"), text).unwrap();
        fs::rename(server.path("new"), server.path(name)).unwrap();
    }
    server.expect_in_log("certificate read anew");
    assert!(shown(&client(&server, &renewed)) == renewed.der);
}

#[test]
fn a_renewal_that_went_wrong_leaves_the_old_certificate_and_says_why() {
    let server = server(certificate(&["localhost"]), "certificates");
    let renewed = certificate(&["localhost"]);
    let mut before = client(&server, &renewed);
    // The key stays the old one's.
    fs::write(server.path("0.pem"), &renewed.certificate).unwrap();
    server.expect_in_log("certificates are not read anew");
    assert!(server.log().contains("is not the key of"));
    assert!(shown(&client(&server, &renewed)) == server.certificates[0].der);
    before.binding();
    // What was missing comes.
    fs::write(server.path("0.key"), &renewed.key).unwrap();
    server.expect_in_log("certificate read anew");
    assert!(shown(&client(&server, &renewed)) == renewed.der);
}

#[test]
fn everything_is_watched_where_that_is_wanted() {
    let server = server(certificate(&["localhost"]), "everything");
    let renewed = certificate(&["localhost"]);
    let mut before = client(&server, &renewed);
    let file = server.path("hairpin.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text + "[limits]\nallocations = 77\n").unwrap();
    server.expect_in_log("limits.allocations");
    server.renew(0, &renewed);
    let read = || server.log().matches("configuration read anew").count() == 2;
    server.wait_until("the second reload", read);
    assert!(shown(&client(&server, &renewed)) == renewed.der);
    before.binding();
}

#[test]
fn nothing_is_read_again_where_nothing_is_watched() {
    let server = server(certificate(&["localhost"]), "nothing");
    let renewed = certificate(&["localhost"]);
    let file = server.path("hairpin.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text + "[limits]\nallocations = 77\n").unwrap();
    server.renew(0, &renewed);
    // A change takes two looks of a second to be seen.
    std::thread::sleep(std::time::Duration::from_millis(3500));
    assert!(shown(&client(&server, &renewed)) == server.certificates[0].der);
    assert!(!server.log().contains("read anew"));
}

#[test]
fn a_certificate_that_ends_within_two_weeks_is_warned_of() {
    let ending = |days: i64| {
        let mut params = params(&["localhost"]);
        let now = std::time::SystemTime::now();
        params.not_before = (now - std::time::Duration::from_secs(3600)).into();
        params.not_after = params.not_before + std::time::Duration::from_secs(days as u64 * 86400);
        from_params(params)
    };
    let said = |made: Made| {
        let server = Server::start(vec![made], LISTENER);
        server.expect_in_log("ready");
        server.log().contains("0.pem expires on")
    };
    assert!(said(ending(14)));
    assert!(!said(ending(15)));
}

//! What stands in the way of a certificate, and what operators read of it.

use crate::rig::{NAME, Rig, plain};

fn now() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.unwrap().as_secs()
}

#[test]
fn a_name_that_is_not_this_servers_is_told_with_what_the_authority_saw() {
    let rig = Rig::new();
    rig.authority
        .conduct(|conduct| conduct.unknown = vec!["other.example.org".to_owned()]);
    let server = rig.start("domains = [\"turn.example.org\", \"other.example.org\"]");
    server.expect_in_log("other.example.org: dns: no such name");
    assert_eq!(
        server.metric("hairpin_acme_orders_total{outcome=\"rejected\"}"),
        1
    );
    // What proves a name is shown no longer than it is looked for.
    assert_eq!(rig.authority.seen().certificates, 0);
}

#[test]
fn an_authority_that_wants_to_be_left_alone_is() {
    let rig = Rig::new();
    rig.authority
        .conduct(|conduct| conduct.limited = Some(5000));
    let server = rig.start(&plain());
    server.expect_in_log("too many certificates already (rateLimited)");
    assert_eq!(
        server.metric("hairpin_acme_orders_total{outcome=\"limited\"}"),
        1
    );
    let again = server.metric("hairpin_acme_next_attempt_timestamp_seconds");
    let now = now();
    assert!(
        (now + 4900..now + 5100).contains(&again),
        "{again} at {now}"
    );
    // A reload does not change that.
    server.reload();
    server.expect_in_log("configuration read anew");
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert_eq!(rig.authority.seen().orders, [[NAME]]);
}

#[test]
fn an_answer_that_cannot_be_worked_with_costs_the_order_and_not_the_server() {
    let rig = Rig::new();
    rig.authority
        .conduct(|conduct| conduct.new_nonce = Some(String::new()));
    let server = rig.start(&plain());
    server.expect_in_log("the authority's answer could not be worked with");
    assert_eq!(
        server.metric("hairpin_acme_orders_total{outcome=\"unreachable\"}"),
        1
    );
    // It was told, and may have been mended.
    rig.authority.conduct(|conduct| conduct.new_nonce = None);
    server.reload();
    server.has_certificate();
    server.shown();
}

#[test]
fn an_authority_that_asks_for_more_time_than_a_clock_can_show_is_dealt_with() {
    let rig = Rig::new();
    rig.authority
        .conduct(|conduct| conduct.retry_after = Some(u64::MAX));
    let server = rig.start(&plain());
    server.has_certificate();
}

#[test]
fn where_there_is_a_certificate_of_a_file_handshakes_are_not_said_to_fail() {
    let rig = Rig::new();
    rig.authority.conduct(|conduct| conduct.is_down = true);
    let own = rcgen::generate_simple_self_signed(vec!["other.example.org".to_owned()]).unwrap();
    std::fs::write(rig.path("own.crt"), own.cert.pem()).unwrap();
    std::fs::write(rig.path("own.key"), own.signing_key.serialize_pem()).unwrap();
    let file = "[[tls.certificate]]\ncertificate = \"own.crt\"\nkey = \"own.key\"";
    let server = rig.start(&format!("{}\n{file}", plain()));
    server.expect_in_log("clients are shown those of files until there is one");
    assert!(!server.log().contains("handshakes fail"));
}

#[test]
fn a_folder_that_others_can_look_into_is_refused() {
    let rig = Rig::new();
    rig.make_state(0o755);
    let said = rig.fail(&plain());
    assert!(
        said.contains("where a private key is to be: chmod 0700"),
        "{said}"
    );
}

#[test]
fn a_folder_that_cannot_be_made_is_told_at_the_start() {
    let mut rig = Rig::new();
    std::fs::write(rig.path("file"), "").unwrap();
    rig.state = "file/state";
    let said = rig.fail(&plain());
    assert!(said.contains("file/state, cannot be made: "), "{said}");
}

#[test]
fn a_folder_that_the_servers_user_cannot_write_is_told_at_the_start_and_what_would_be_right() {
    let mut rig = Rig::new();
    rig.make_state(0o500);
    if rig.user == "0" {
        // Root may do anything; it becomes somebody who owns nothing.
        rig.user = "65534".to_owned();
    }
    let said = rig.fail(&plain());
    assert!(
        said.contains("cannot be written: Permission denied"),
        "{said}"
    );
    assert!(
        said.contains("has to belong to the user that hairpin runs as"),
        "{said}"
    );
    assert!(rig.authority.seen().orders.is_empty());
}

#[test]
fn a_certificate_that_was_kept_and_is_broken_is_asked_for_again() {
    let rig = Rig::new();
    let server = rig.start(&plain());
    server.has_certificate();
    drop(server);
    let file = rig.kept();
    std::fs::write(file, "broken").unwrap();
    let server = rig.start(&plain());
    server.expect_in_log("the certificate that was kept is not used");
    server.has_certificate();
    server.shown();
}

#[test]
fn an_account_that_the_authority_does_not_know_any_more_is_made_anew_with_the_next_order() {
    let rig = Rig::new();
    let server = rig.start(&plain());
    server.has_certificate();
    drop(server);
    rig.authority.forget_accounts();
    let server = rig.start("domains = [\"turn.example.org\", \"new.example.org\"]");
    server.expect_in_log("I do not know you (accountDoesNotExist)");
    server.reload();
    server.has_certificate();
    assert_eq!(rig.authority.seen().accounts.len(), 2);
}

//! An authority that gives out certificates by ACME (RFC 8555), on loopback and over HTTPS, and does as it is told.
//!
//! It is another hand's: requests are checked as the RFC says (signature, nonce, URL, key), names are looked at where the
//! server really listens, and certificates are signed for the key of the request. What it cannot do is look names up:
//! every name is the server's address.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use rcgen::{
    BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, PublicKeyData, SignatureAlgorithm,
};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, ServerConfig, ServerConnection,
    SignatureScheme, StreamOwned,
};
use serde_json::{Value, json};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::{FromDer as _, GeneralName, ParsedExtension, X509Certificate};

/// What it does with the next orders.
#[derive(Clone, Debug)]
pub struct Conduct {
    /// How long certificates last.
    pub life: Duration,
    /// How long before it is signed a certificate begins.
    pub age: Duration,
    /// How many requests are told that their nonce is bad.
    pub bad_nonces: u32,
    /// How long each answer takes.
    pub delay: Duration,
    /// Whether it answers at all.
    pub is_down: bool,
    /// Names that are nobody's.
    pub unknown: Vec<String>,
    /// For how long orders are refused, as too many.
    pub limited: Option<u64>,
    /// How long every answer asks to be left alone, in seconds.
    pub retry_after: Option<u64>,
    /// Where nonces are had, in place of its own URL.
    pub new_nonce: Option<String>,
    /// The account that new ones have to be bound to, and its key.
    pub external_account: Option<(String, Vec<u8>)>,
}

impl Default for Conduct {
    fn default() -> Self {
        Conduct {
            life: Duration::from_secs(90 * 86400),
            age: Duration::from_secs(3600),
            bad_nonces: 0,
            delay: Duration::ZERO,
            is_down: false,
            unknown: Vec::new(),
            limited: None,
            retry_after: None,
            new_nonce: None,
            external_account: None,
        }
    }
}

/// What it was asked for.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub accounts: Vec<Vec<String>>,
    pub orders: Vec<Vec<String>>,
    pub proofs: Vec<String>,
    pub certificates: usize,
    pub refused_nonces: u32,
    pub faults: Vec<String>,
}

struct Order {
    names: Vec<String>,
    tokens: Vec<String>,
    /// By place of the name: whether it was proved, or why not.
    proved: Vec<Option<Result<(), String>>>,
    certificate: Option<String>,
}

#[derive(Default)]
struct State {
    conduct: Conduct,
    seen: Seen,
    nonces: Vec<String>,
    /// By their number, the public point of their key and its thumbprint.
    accounts: Vec<(Vec<u8>, String)>,
    orders: Vec<Order>,
}

pub struct Authority {
    state: Arc<Mutex<State>>,
    address: SocketAddr,
    /// The certificate of who signs, of the directory too.
    pub root: CertificateDer<'static>,
    pub root_pem: String,
}

/// What answers are made with.
struct Desk {
    state: Arc<Mutex<State>>,
    url: String,
    issuer: Issuer<'static, KeyPair>,
    root_pem: String,
    /// Where names are looked at, by TLS and by HTTP.
    tls: SocketAddr,
    http: SocketAddr,
}

struct Answer {
    status: u16,
    kind: &'static str,
    headers: Vec<(&'static str, String)>,
    body: String,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap()
}

fn text(bytes: impl AsRef<[u8]>) -> String {
    BASE64.encode(bytes)
}

fn bytes(value: &Value) -> Vec<u8> {
    BASE64.decode(value.as_str().unwrap()).unwrap()
}

impl Authority {
    /// Starts one that looks at names on these two addresses.
    pub fn start(tls: SocketAddr, http: SocketAddr) -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = params.self_signed(&key).unwrap();
        let issuer = Issuer::new(params, key);
        let own_key = KeyPair::generate().unwrap();
        let own =
            CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
        let own = own.signed_by(&own_key, &issuer).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![own.der().clone()],
                PrivateKeyDer::Pkcs8(own_key.serialize_der().into()),
            )
            .unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::<Mutex<State>>::default();
        let desk = Arc::new(Desk {
            state: state.clone(),
            url: format!("https://{address}"),
            issuer,
            root_pem: root.pem(),
            tls,
            http,
        });
        let config = Arc::new(config);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (desk, config) = (desk.clone(), config.clone());
                std::thread::spawn(move || desk.serve(stream.unwrap(), config));
            }
        });
        Authority {
            state,
            address,
            root: root.der().clone(),
            root_pem: root.pem(),
        }
    }

    pub fn directory(&self) -> String {
        format!("https://{}/directory", self.address)
    }

    /// Behaves otherwise from now on.
    pub fn conduct(&self, change: impl FnOnce(&mut Conduct)) {
        change(&mut lock(&self.state).conduct);
    }

    /// Knows none of those any more who have an account.
    pub fn forget_accounts(&self) {
        lock(&self.state).accounts.clear();
    }

    pub fn seen(&self) -> Seen {
        lock(&self.state).seen.clone()
    }
}

impl Desk {
    fn serve(&self, stream: TcpStream, config: Arc<ServerConfig>) {
        if lock(&self.state).conduct.is_down {
            return;
        }
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let connection = ServerConnection::new(config).unwrap();
        let mut reader = BufReader::new(StreamOwned::new(connection, stream));
        let mut line = String::new();
        if reader.read_line(&mut line).is_err() || line.is_empty() {
            return;
        }
        let mut words = line.split(' ');
        let (method, path) = (
            words.next().unwrap().to_owned(),
            words.next().unwrap().to_owned(),
        );
        let mut headers = HashMap::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            let Some((name, value)) = line.trim_end().split_once(": ") else {
                break;
            };
            headers.insert(name.to_ascii_lowercase(), value.to_owned());
        }
        let length = headers
            .get("content-length")
            .map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let answer = match method.as_str() {
            "POST" => {
                assert_eq!(headers["content-type"], "application/jose+json");
                self.post(&path, &body)
            }
            _ => self.get(&path),
        };
        let delay = lock(&self.state).conduct.delay;
        std::thread::sleep(delay);
        assert!(headers["user-agent"].starts_with("hairpin/"));
        let mut head = format!(
            "HTTP/1.1 {} X\r\nContent-Type: {}\r\nContent-Length: {}\r\nReplay-Nonce: {}\r\n",
            answer.status,
            answer.kind,
            answer.body.len(),
            self.nonce()
        );
        for (name, value) in &answer.headers {
            head += &format!("{name}: {value}\r\n");
        }
        if let Some(seconds) = lock(&self.state).conduct.retry_after {
            head += &format!("Retry-After: {seconds}\r\n");
        }
        let body = if method == "HEAD" { "" } else { &answer.body };
        let stream = reader.get_mut();
        // The other side may have gone.
        let _ = stream.write_all(format!("{head}\r\n{body}").as_bytes());
        let _ = stream.flush();
    }

    fn nonce(&self) -> String {
        let nonce = text(rand::random::<[u8; 16]>());
        lock(&self.state).nonces.push(nonce.clone());
        nonce
    }

    fn get(&self, path: &str) -> Answer {
        let at = |name: &str| format!("{}/{name}", self.url);
        let new_nonce = lock(&self.state).conduct.new_nonce.clone();
        match path {
            "/directory" => answer(
                200,
                &json!({
                    "newNonce": new_nonce.unwrap_or_else(|| at("new-nonce")), "newAccount": at("new-account"), "newOrder": at("new-order"),
                    "revokeCert": at("revoke"), "keyChange": at("change"),
                }),
            ),
            "/new-nonce" => answer(200, &Value::Null),
            _ => problem(404, "malformed", "there is nothing here"),
        }
    }

    fn post(&self, path: &str, body: &[u8]) -> Answer {
        let body: Value = serde_json::from_slice(body).unwrap();
        let protected: Value = serde_json::from_slice(&bytes(&body["protected"])).unwrap();
        let mut state = lock(&self.state);
        let nonce = protected["nonce"].as_str().unwrap();
        let known = state.nonces.iter().position(|known| known == nonce);
        known.map(|known| state.nonces.remove(known));
        if known.is_none() || state.conduct.bad_nonces > 0 {
            state.conduct.bad_nonces = state.conduct.bad_nonces.saturating_sub(1);
            state.seen.refused_nonces += 1;
            return problem(400, "badNonce", "this nonce is not one of mine");
        }
        if protected["url"] != format!("{}{path}", self.url) || protected["alg"] != "ES256" {
            state.seen.faults.push(format!("{path}: {protected}"));
            return problem(403, "unauthorized", "signed for something else");
        }
        let (point, account) = match protected["kid"].as_str() {
            Some(kid) => {
                let number = kid
                    .rsplit('/')
                    .next()
                    .and_then(|number| number.parse::<usize>().ok());
                let Some(number) = number.filter(|number| *number < state.accounts.len()) else {
                    return problem(400, "accountDoesNotExist", "I do not know you");
                };
                (state.accounts[number].0.clone(), Some(number))
            }
            None => {
                let jwk = &protected["jwk"];
                assert_eq!((&jwk["kty"], &jwk["crv"]), (&json!("EC"), &json!("P-256")));
                let point = [vec![4], bytes(&jwk["x"]), bytes(&jwk["y"])].concat();
                (point, None)
            }
        };
        let signed = format!(
            "{}.{}",
            body["protected"].as_str().unwrap(),
            body["payload"].as_str().unwrap()
        );
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &point);
        if key
            .verify(signed.as_bytes(), &bytes(&body["signature"]))
            .is_err()
        {
            state
                .seen
                .faults
                .push(format!("{path}: the signature is wrong"));
            return problem(403, "unauthorized", "the signature is wrong");
        }
        let payload = bytes(&body["payload"]);
        let payload: Value = serde_json::from_slice(&payload).unwrap_or(Value::Null);
        let mut parts = path.trim_matches('/').split('/');
        let first = parts.next().unwrap();
        if first == "new-account" {
            return self.new_account(&mut state, point, &protected["jwk"], &payload);
        }
        let Some(account) = account else {
            return problem(403, "unauthorized", "who are you?");
        };
        let mut number = || parts.next().unwrap().parse::<usize>().unwrap();
        match first {
            "account" => {
                assert_eq!(number(), account);
                state.seen.accounts[account] = strings(&payload["contact"]);
                answer(200, &json!({ "status": "valid" }))
            }
            "new-order" => self.new_order(&mut state, &payload),
            "order" => self.order(&state, number()),
            "authorization" => {
                let (order, name) = (number(), number());
                answer(200, &self.authorization(&state, order, name))
            }
            "challenge" => {
                let (order, name) = (number(), number());
                let kind = parts.next().unwrap().to_owned();
                let key = format!(
                    "{}.{}",
                    state.orders[order].tokens[name], state.accounts[account].1
                );
                let domain = state.orders[order].names[name].clone();
                let token = state.orders[order].tokens[name].clone();
                let is_unknown = state.conduct.unknown.contains(&domain);
                // Looking takes the server, which may ask for something meanwhile.
                drop(state);
                let looked = match kind.as_str() {
                    _ if is_unknown => Err("dns: no such name".to_owned()),
                    "tls-alpn-01" => self.look_by_tls(&domain, &key),
                    _ => self.look_by_http(&domain, &token, &key),
                };
                let mut state = lock(&self.state);
                state
                    .seen
                    .proofs
                    .push(format!("{kind} {domain} {}", looked.is_ok()));
                state.orders[order].proved[name] = Some(looked);
                answer(
                    200,
                    &json!({ "type": kind, "url": format!("{}{path}", self.url), "token": token, "status": "processing" }),
                )
            }
            "finalize" => self.finalize(&mut state, number(), &payload),
            "certificate" => Answer {
                kind: "application/pem-certificate-chain",
                ..answer_text(200, state.orders[number()].certificate.clone().unwrap())
            },
            _ => problem(404, "malformed", "there is nothing here"),
        }
    }

    fn new_account(
        &self,
        state: &mut State,
        point: Vec<u8>,
        jwk: &Value,
        payload: &Value,
    ) -> Answer {
        if payload["termsOfServiceAgreed"] != true {
            return problem(403, "userActionRequired", "agree to the terms");
        }
        if let Some((id, key)) = &state.conduct.external_account {
            let binding = &payload["externalAccountBinding"];
            if binding.is_null() {
                return problem(
                    403,
                    "externalAccountRequired",
                    "whose account is this to be?",
                );
            }
            let protected: Value = serde_json::from_slice(&bytes(&binding["protected"])).unwrap();
            let signed = format!(
                "{}.{}",
                binding["protected"].as_str().unwrap(),
                binding["payload"].as_str().unwrap()
            );
            let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, key);
            let mac = bytes(&binding["signature"]);
            if protected["kid"] != *id
                || aws_lc_rs::hmac::verify(&key, signed.as_bytes(), &mac).is_err()
            {
                return problem(403, "unauthorized", "the binding is wrong");
            }
        }
        let canonical = format!(
            "{{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":{},\"y\":{}}}",
            jwk["x"], jwk["y"]
        );
        let thumbprint = text(digest(&SHA256, canonical.as_bytes()));
        state.accounts.push((point, thumbprint));
        state.seen.accounts.push(strings(&payload["contact"]));
        let url = format!("{}/account/{}", self.url, state.accounts.len() - 1);
        Answer {
            headers: vec![("Location", url)],
            ..answer(201, &json!({ "status": "valid" }))
        }
    }

    fn new_order(&self, state: &mut State, payload: &Value) -> Answer {
        let names = payload["identifiers"].as_array().unwrap();
        let names = names.iter().map(|name| {
            assert_eq!(name["type"], "dns");
            name["value"].as_str().unwrap().to_owned()
        });
        let names: Vec<_> = names.collect();
        state.seen.orders.push(names.clone());
        if let Some(seconds) = state.conduct.limited {
            return Answer {
                headers: vec![("Retry-After", seconds.to_string())],
                ..problem(429, "rateLimited", "too many certificates already")
            };
        }
        let tokens = names.iter().map(|_| text(rand::random::<[u8; 32]>()));
        state.orders.push(Order {
            tokens: tokens.collect(),
            proved: vec![None; names.len()],
            names,
            certificate: None,
        });
        let number = state.orders.len() - 1;
        Answer {
            headers: vec![("Location", format!("{}/order/{number}", self.url))],
            status: 201,
            ..self.order(state, number)
        }
    }

    fn order(&self, state: &State, number: usize) -> Answer {
        let order = &state.orders[number];
        let is_all = |what: fn(&Result<(), String>) -> bool| {
            order
                .proved
                .iter()
                .all(|proved| proved.as_ref().is_some_and(what))
        };
        let is_any_wrong = order.proved.iter().flatten().any(Result::is_err);
        let status = match &order.certificate {
            _ if is_any_wrong => "invalid",
            Some(_) => "valid",
            None if is_all(Result::is_ok) => "ready",
            None => "pending",
        };
        let places = 0..order.names.len();
        let urls = places.map(|name| format!("{}/authorization/{number}/{name}", self.url));
        let mut value = json!({
            "status": status,
            "identifiers": order.names.iter().map(|name| json!({ "type": "dns", "value": name })).collect::<Vec<_>>(),
            "authorizations": urls.collect::<Vec<_>>(),
            "finalize": format!("{}/finalize/{number}", self.url),
        });
        if order.certificate.is_some() {
            value["certificate"] = format!("{}/certificate/{number}", self.url).into();
        }
        answer(200, &value)
    }

    fn authorization(&self, state: &State, order: usize, name: usize) -> Value {
        let of = &state.orders[order];
        let (status, error) = match &of.proved[name] {
            None => ("pending", None),
            Some(Ok(())) => ("valid", None),
            Some(Err(why)) => (
                "invalid",
                Some(
                    json!({ "type": "urn:ietf:params:acme:error:incorrectResponse", "detail": why }),
                ),
            ),
        };
        let challenge = |kind: &str| {
            json!({
                "type": kind,
                "url": format!("{}/challenge/{order}/{name}/{kind}", self.url),
                "token": of.tokens[name],
                "status": status,
            })
        };
        let mut challenges = vec![
            challenge("http-01"),
            challenge("tls-alpn-01"),
            challenge("dns-01"),
        ];
        if let Some(error) = error {
            challenges[0]["error"] = error;
        }
        json!({
            "identifier": { "type": "dns", "value": of.names[name] },
            "status": status,
            "challenges": challenges,
        })
    }

    /// RFC 8737, section 3.
    fn look_by_tls(&self, domain: &str, key: &str) -> Result<(), String> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Looking))
            .with_no_client_auth();
        config.alpn_protocols = vec![b"acme-tls/1".to_vec()];
        let name = ServerName::try_from(domain.to_owned()).unwrap();
        let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut stream = TcpStream::connect(self.tls).map_err(|error| error.to_string())?;
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        while connection.is_handshaking() {
            connection
                .complete_io(&mut stream)
                .map_err(|error| error.to_string())?;
        }
        if connection.alpn_protocol() != Some(b"acme-tls/1") {
            return Err("the protocol acme-tls/1 is not spoken".to_owned());
        }
        let shown = connection.peer_certificates().unwrap()[0].clone();
        // Nothing else is spoken on such a connection.
        let mut rest = Vec::new();
        let end = StreamOwned::new(connection, stream).read_to_end(&mut rest);
        if end.is_err() || !rest.is_empty() {
            return Err(format!(
                "the connection was not closed properly: {end:?} {rest:?}"
            ));
        }
        let (_, shown) = X509Certificate::from_der(&shown).unwrap();
        let names = shown.subject_alternative_name().unwrap().unwrap();
        if names.value.general_names != [GeneralName::DNSName(domain)] {
            return Err(format!(
                "the certificate is for {:?}",
                names.value.general_names
            ));
        }
        let proof = shown
            .extensions()
            .iter()
            .find(|extension| extension.oid.to_id_string() == "1.3.6.1.5.5.7.1.31")
            .filter(|extension| extension.critical)
            .ok_or("there is no critical acmeIdentifier")?;
        let wanted = [&[4, 32], digest(&SHA256, key.as_bytes()).as_ref()].concat();
        match proof.value == wanted {
            true => Ok(()),
            false => Err("the proof is another's".to_owned()),
        }
    }

    /// RFC 8555, section 8.3.
    fn look_by_http(&self, domain: &str, token: &str, key: &str) -> Result<(), String> {
        let mut stream = TcpStream::connect(self.http).map_err(|error| error.to_string())?;
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        let request =
            format!("GET /.well-known/acme-challenge/{token} HTTP/1.1\r\nHost: {domain}\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream
            .read_to_string(&mut answer)
            .map_err(|error| error.to_string())?;
        let (head, body) = answer.split_once("\r\n\r\n").ok_or("no answer")?;
        match head.starts_with("HTTP/1.1 200 ") && body == key {
            true => Ok(()),
            false => Err(format!("unexpected answer: {head}")),
        }
    }

    fn finalize(&self, state: &mut State, number: usize, payload: &Value) -> Answer {
        let request = bytes(&payload["csr"]);
        let (_, request) = X509CertificationRequest::from_der(&request).unwrap();
        let info = &request.certification_request_info;
        let point = info.subject_pki.subject_public_key.data.to_vec();
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &point);
        if key.verify(info.raw, &request.signature_value.data).is_err() {
            return problem(400, "badCSR", "the request is not signed by its key");
        }
        let mut names: Vec<String> = request
            .requested_extensions()
            .into_iter()
            .flatten()
            .filter_map(|extension| match extension {
                ParsedExtension::SubjectAlternativeName(names) => Some(&names.general_names),
                _ => None,
            })
            .flatten()
            .map(|name| match name {
                GeneralName::DNSName(name) => (*name).to_owned(),
                other => panic!("{other} was not ordered"),
            })
            .collect();
        names.sort();
        let mut ordered = state.orders[number].names.clone();
        ordered.sort();
        if names != ordered
            || state.orders[number]
                .proved
                .iter()
                .any(|proved| *proved != Some(Ok(())))
        {
            return problem(403, "orderNotReady", "not what was ordered and proved");
        }
        let mut params = CertificateParams::new(names).unwrap();
        let begin = SystemTime::now() - state.conduct.age;
        params.not_before = begin.into();
        params.not_after = (begin + state.conduct.life).into();
        let certificate = params.signed_by(&Point(point), &self.issuer).unwrap();
        state.orders[number].certificate = Some(certificate.pem() + &self.root_pem);
        state.seen.certificates += 1;
        self.order(state, number)
    }
}

/// Takes any certificate whose key the other side has. The library's own look at it ends at the critical extension.
#[derive(Debug)]
struct Looking;

impl ServerCertVerifier for Looking {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verify_tls13_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let (_, certificate) = X509Certificate::from_der(certificate).unwrap();
        let point = &certificate.public_key().subject_public_key.data;
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point)
            .verify(message, signature.signature())
            .map_err(|_| rustls::Error::General("the key is another's".to_owned()))?;
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

/// The public key of a request.
struct Point(Vec<u8>);

impl PublicKeyData for Point {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

fn strings(value: &Value) -> Vec<String> {
    let values = value.as_array().into_iter().flatten();
    values
        .map(|value| value.as_str().unwrap().to_owned())
        .collect()
}

fn answer(status: u16, value: &Value) -> Answer {
    answer_text(status, value.to_string())
}

fn answer_text(status: u16, body: String) -> Answer {
    Answer {
        status,
        kind: "application/json",
        headers: Vec::new(),
        body,
    }
}

fn problem(status: u16, kind: &str, detail: &str) -> Answer {
    let kind = format!("urn:ietf:params:acme:error:{kind}");
    Answer {
        kind: "application/problem+json",
        ..answer(
            status,
            &json!({ "type": kind, "detail": detail, "status": status }),
        )
    }
}

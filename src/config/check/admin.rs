//! Where operators are served over HTTP, and who may ask there.

use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;

use super::super::document::{self, Given, List, Read};
use super::super::error::Problem;
use super::super::settings::{Admin, AdminToken, Family, Listener, Scope, Tester};
use super::auth::Sources;
use super::limits::rate;
use super::places::usable;
use super::weak::SHORTEST_SECRET;
use super::{MINUTE, Problems};

/// The longest path of a unix socket on Linux: `sun_path` without the byte that ends it.
const LONGEST_PATH: usize = 107;

/// The longest name of a token or a key.
const LONGEST_NAME: usize = 64;

/// What is there already, beside which an address over HTTP has to find room.
#[derive(Clone, Copy)]
pub(super) struct Taken<'a> {
    pub listeners: &'a [Listener],
    pub metrics: Option<SocketAddr>,
    pub has_certificate: bool,
}

impl Taken<'_> {
    /// An address over HTTP. `others` are further ones, with their names.
    pub(super) fn address(
        self,
        given: Given<Read<Option<SocketAddr>>>,
        others: &[(&str, Option<SocketAddr>)],
        problems: &mut Problems,
    ) -> Option<(Range<usize>, SocketAddr)> {
        let given = given?;
        let span = given.span();
        let address = given.into_inner().0?;
        self.check(&span, address, others, problems);
        Some((span, address))
    }

    /// Notes what keeps an address over HTTP from being listened on.
    pub(super) fn check(
        self,
        span: &Range<usize>,
        address: SocketAddr,
        others: &[(&str, Option<SocketAddr>)],
        problems: &mut Problems,
    ) {
        if let Err(why) = usable(address) {
            problems.add(Problem::new(
                span.clone(),
                format!("nobody can listen on `{address}`: {why}"),
            ));
        }
        let is_same = |other: SocketAddr| {
            other.port() == address.port()
                && Family::of(other.ip()) == Family::of(address.ip())
                && (other.ip() == address.ip()
                    || other.ip().is_unspecified()
                    || address.ip().is_unspecified())
        };
        let streams = self.listeners.iter();
        let streams = streams.filter(|listener| listener.transport.is_stream());
        let listener = streams
            .map(|listener| ("a listener", Some(listener.address)))
            .chain([("[metrics]", self.metrics)])
            .chain(others.iter().copied())
            .find(|(_, other)| other.is_some_and(is_same));
        if let Some((what, Some(other))) = listener {
            problems.add(Problem::new(
                span.clone(),
                format!("`{address}` is taken by {what}, on `{other}`"),
            ));
        }
    }

    /// Whether TLS is spoken.
    pub(super) fn tls(self, given: Given<bool>, problems: &mut Problems) -> bool {
        let Some(given) = given else { return false };
        if *given.get_ref() && !self.has_certificate {
            problems.add(
                Problem::new(given.span(), "`tls` needs a certificate").help(
                    "name its files under [[tls.certificate]]: certificate = \"chain.pem\", key = \"key.pem\"",
                ),
            );
        }
        given.into_inner()
    }
}

pub(super) fn check(
    given: document::Admin,
    base: &Path,
    taken: Taken<'_>,
    default: Admin,
    sources: &mut Sources<'_>,
    problems: &mut Problems,
) -> Admin {
    let address = taken.address(given.address, &[], problems);
    let has_token = given.token.as_ref().is_some_and(|given| !given.is_empty());
    let tokens = tokens(given.token, sources, problems);
    if let Some((span, _)) = &address
        && !has_token
    {
        problems.add(
            Problem::new(
                span.clone(),
                "`address` without a token: nobody could ask there",
            )
            .help(
                "give [[admin.token]] with `name` and `token`; the unix socket, `socket`, needs none",
            ),
        );
    }
    Admin {
        socket: match given.socket {
            None => default.socket,
            Some(given) => socket(&given, base, problems),
        },
        address: address.map(|(_, address)| address),
        tls: taken.tls(given.tls, problems),
        tokens,
        tester: Tester::default(),
    }
}

/// The tester, which `admin` and `credentials` leave room for: where operators are served, and applications.
pub(super) fn tester(
    given: document::Tester,
    taken: Taken<'_>,
    admin: Option<SocketAddr>,
    credentials: Option<SocketAddr>,
    has_secret: bool,
    problems: &mut Problems,
) -> Tester {
    let default = Tester::default();
    let others = [("[admin]", admin), ("[credentials]", credentials)];
    let address = taken.address(given.address, &others, problems);
    let public = given.public.as_ref().is_some_and(|given| *given.get_ref());
    if let Some(given) = given.public.filter(|_| public) {
        if address.is_none() && admin.is_none() {
            problems.add(
                Problem::new(
                    given.span(),
                    "`public`, and yet nobody but who may use the unix socket could open the page",
                )
                .help("give `address` here, where nothing but the tester is served: address = \"0.0.0.0:8444\""),
            );
        }
        if !has_secret {
            problems.add(
                Problem::new(
                    given.span(),
                    "a test needs a credential, which is made with a shared secret, and there is none",
                )
                .help("give `secrets` under [auth]: secrets = [{ file = \"/etc/hairpin/secret\" }]"),
            );
        }
    } else if let Some((span, _)) = &address {
        problems.add(
            Problem::new(
                span.clone(),
                "`address` without `public = true`: it is there for those who have no token",
            )
            .help("operators find the tester at /test of their own address"),
        );
    }
    Tester {
        public,
        address: address.map(|(_, address)| address),
        tls: taken.tls(given.tls, problems),
        ttl: problems.duration("ttl", given.ttl, MINUTE..=60 * MINUTE, default.ttl),
        per_source: given
            .per_source
            .map_or(default.per_source, Spanned::into_inner),
        total: given.total.map_or(default.total, Spanned::into_inner),
        allocations: given
            .allocations
            .map_or(default.allocations, Spanned::into_inner),
        bandwidth: rate("bandwidth", given.bandwidth, default.bandwidth, problems),
    }
}

fn socket(given: &Spanned<String>, base: &Path, problems: &mut Problems) -> Option<PathBuf> {
    let text = given.get_ref();
    if text.is_empty() {
        return None;
    }
    let path = base.join(text);
    let length = path.as_os_str().len();
    if length > LONGEST_PATH {
        problems.add(Problem::new(
            given.span(),
            format!("`socket` is {length} bytes long; the system takes at most {LONGEST_PATH}"),
        ));
    } else if text.contains('\0') {
        problems.add(Problem::new(given.span(), "`socket` is not a path"));
    }
    Some(path)
}

fn tokens(
    given: List<document::AdminToken>,
    sources: &mut Sources<'_>,
    problems: &mut Problems,
) -> Vec<AdminToken> {
    let mut names = Vec::new();
    let mut secrets = Vec::new();
    let mut tokens = Vec::new();
    for element in given.unwrap_or_default() {
        let span = element.span();
        let document::AdminToken { name, token, scope } = element.into_inner();
        let name = check_name("token", name, &span, problems);
        let token = check_token("token", token, &span, sources, problems);
        if let (Some((place, name)), Some((span, token))) = (name, token) {
            names.push((place, name.clone()));
            secrets.push((span, token.clone()));
            tokens.push(AdminToken {
                name,
                token,
                scope: scope.unwrap_or(Scope::Read),
            });
        }
    }
    problems.repeated(&names, |name| format!("the name `{name}`"));
    problems.repeated(&secrets, |_| "this token".to_owned());
    tokens
}

/// The name of a token or a key, which stands in paths and logs.
pub(super) fn check_name(
    what: &str,
    given: Given<String>,
    whole: &Range<usize>,
    problems: &mut Problems,
) -> Option<(Range<usize>, String)> {
    let Some(given) = given else {
        problems.add(Problem::new(
            whole.clone(),
            format!("this {what} has no `name`"),
        ));
        return None;
    };
    let name = given.get_ref();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(is_plain) {
        problems.add(Problem::new(
            given.span(),
            format!("`name` is 1 to {LONGEST_NAME} letters, digits, `-` and `_`"),
        ));
    }
    Some((given.span(), given.into_inner()))
}

/// What has to be shown to be let in.
pub(super) fn check_token(
    what: &str,
    given: Given<super::super::secrets::SecretSource>,
    whole: &Range<usize>,
    sources: &mut Sources<'_>,
    problems: &mut Problems,
) -> Option<(Range<usize>, crate::auth::Secret)> {
    let Some(given) = given else {
        problems.add(
            Problem::new(whole.clone(), format!("this {what} has no `token`"))
                .help("a string, { file = \"/path\" } or { env = \"NAME\" }"),
        );
        return None;
    };
    let (span, token) = sources.strong("token", SHORTEST_SECRET, given, problems)?;
    if !token.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
        problems.add(
            Problem::new(
                span.clone(),
                "this token has characters that an HTTP header does not take",
            )
            .help("`openssl rand -base64 32` makes a good one"),
        );
    }
    Some((span, token))
}

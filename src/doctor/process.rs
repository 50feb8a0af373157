//! The process as it is, or will be, started: its rights, its limits, and the unit that sets them.

use super::Finding;
use super::machine::Machine;
use crate::config::{Listener, Settings};
use crate::net::addresses::RelayAddress;

/// Where units are, the first that is there wins.
const UNITS: [&str; 5] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

/// The unit's name.
const NAME: &str = "hairpin.service";

/// The name of the unit that opens sockets for it.
const SOCKETS: &str = "hairpin.socket";

/// The hard limit that systemd gives to units that name none.
const OF_SYSTEMD: u64 = 524_288;

/// Looks at how the server is started.
pub(super) fn examine(
    settings: &Settings,
    relays: &[RelayAddress],
    machine: &Machine,
) -> Vec<Finding> {
    let unit = Unit::find(NAME, machine);
    let sockets = Unit::find(SOCKETS, machine);
    let mut found = Vec::new();
    found.extend(descriptors(settings, relays, unit.as_ref(), machine));
    found.extend(low_ports(
        settings,
        unit.as_ref(),
        sockets.as_ref(),
        machine,
    ));
    found.extend(rights(settings));
    if let Some(unit) = &unit {
        found.extend(of_unit(unit));
    }
    found
}

/// What a unit and its drop-ins set.
struct Unit {
    file: String,
    settings: Vec<(String, String)>,
}

impl Unit {
    fn find(name: &str, machine: &Machine) -> Option<Unit> {
        let (file, text) = UNITS.iter().find_map(|directory| {
            let file = format!("{directory}/{name}");
            let text = machine.read(&file)?;
            Some((file, text))
        })?;
        let drop_ins = UNITS
            .iter()
            .rev()
            .flat_map(|directory| machine.files(&format!("{directory}/{name}.d"), ".conf"))
            .filter_map(|file| machine.read(&file));
        let mut settings = Vec::new();
        for text in std::iter::once(text).chain(drop_ins) {
            let lines = text.lines().map(str::trim);
            settings.extend(
                lines
                    .filter(|line| !line.starts_with(['#', ';', '[']))
                    .filter_map(|line| line.split_once('='))
                    .map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned())),
            );
        }
        Some(Unit { file, settings })
    }

    /// The last value of a key.
    fn last(&self, key: &str) -> Option<&str> {
        let mut backwards = self.settings.iter().rev();
        backwards
            .find(|(name, _)| name == key)
            .map(|(_, value)| value.as_str())
    }

    /// Whether it is a unit of sockets with one for this listener.
    fn opens(&self, listener: &Listener) -> bool {
        let setting = if listener.transport.is_stream() {
            "ListenStream"
        } else {
            "ListenDatagram"
        };
        let mut all = self.settings.iter();
        all.any(|(name, value)| name == setting && value.parse() == Ok(listener.address))
    }
}

fn descriptors(
    settings: &Settings,
    relays: &[RelayAddress],
    unit: Option<&Unit>,
    machine: &Machine,
) -> Option<Finding> {
    let (limit, whose) = match unit {
        Some(unit) => match unit.last("LimitNOFILE") {
            None => (OF_SYSTEMD, format!("what systemd gives {NAME}")),
            // soft:hard, or both in one; hairpin raises the one to the other.
            Some(value) => {
                let hard = value.rsplit(':').next().unwrap_or(value);
                let limit = match hard {
                    "infinity" => u64::MAX,
                    number => number.parse().ok()?,
                };
                (limit, format!("LimitNOFILE= in {}", unit.file))
            }
        },
        None => {
            let limits = machine.read("/proc/self/limits")?;
            let line = limits
                .lines()
                .find(|line| line.starts_with("Max open files"))?;
            let hard = line.split_whitespace().nth(4)?;
            let limit = hard.parse().unwrap_or(u64::MAX);
            (limit, "the hard limit here (ulimit -Hn)".to_owned())
        }
    };
    let ports = u64::from(settings.relay.ports.count()) * relays.len() as u64;
    let wanted = ports + settings.tcp.max_connections as u64;
    if limit >= wanted {
        return Some(Finding::ok(
            "process.descriptors",
            format!("{whose} is enough open files for all relay ports and connections ({wanted})"),
        ));
    }
    Some(
        Finding::warning(
            "process.descriptors",
            format!("{limit} open files, {whose}, are fewer than the {wanted} that {ports} relay ports and {} connections take", settings.tcp.max_connections),
        )
        .why("allocations and connections beyond it are refused")
        .mend("raise it: with systemd by `systemctl edit hairpin`")
        .lines(["[Service]", "LimitNOFILE=1048576"]),
    )
}

/// Ports that need a right, which the unit may keep from the server.
fn low_ports(
    settings: &Settings,
    unit: Option<&Unit>,
    opener: Option<&Unit>,
    machine: &Machine,
) -> Option<Finding> {
    let first = machine
        .number("/proc/sys/net/ipv4/ip_unprivileged_port_start")
        .unwrap_or(1024);
    let sockets = settings.sockets();
    let low = sockets
        .iter()
        .filter(|listener| u64::from(listener.address.port()) < first)
        .find(|listener| !opener.is_some_and(|unit| unit.opens(listener)))?;
    let unit = unit?;
    let right = "CAP_NET_BIND_SERVICE";
    let keeps = |key| {
        unit.last(key)
            .is_some_and(|value: &str| value.contains(right))
    };
    let is_root = unit.last("DynamicUser").is_none_or(|value| value != "yes")
        && unit.last("User").is_none_or(|user| user == "root")
        && unit
            .last("CapabilityBoundingSet")
            .is_none_or(|set| set.contains(right));
    if is_root || (keeps("AmbientCapabilities") && unit.last("PrivateUsers") != Some("yes")) {
        return None;
    }
    Some(
        Finding::problem(
            "unit.low-port",
            format!(
                "the {} listener on {} is below port {first}, and {} has not the right to it",
                low.transport, low.address, unit.file
            ),
        )
        .why("hairpin does not start")
        .mend("let hairpin.socket open it, or `systemctl edit hairpin`, and write")
        .lines([
            "[Service]",
            "AmbientCapabilities=CAP_NET_BIND_SERVICE",
            "CapabilityBoundingSet=CAP_NET_BIND_SERVICE",
            "PrivateUsers=no",
        ]),
    )
}

fn rights(settings: &Settings) -> Vec<Finding> {
    let server = &settings.server;
    let mut found = Vec::new();
    if server.user == "root" || server.user == "0" {
        found.push(
            Finding::warning(
                "process.root",
                "the server stays root, though without capabilities: `user` under [server] says so",
            )
            .why("files of root are open to whoever breaks into it")
            .mend("leave `user` out, or name a user of its own"),
        );
    }
    if !server.sandbox {
        found.push(
            Finding::warning("process.no-sandbox", "`sandbox` under [server] is off")
                .why("whoever breaks into the server can do all that its user can")
                .mend("leave it out; hairpin needs nothing that the sandbox keeps from it"),
        );
    }
    if found.is_empty() {
        found.push(Finding::ok(
            "process.rights",
            "the server gives up root, files and system calls once it listens",
        ));
    }
    found
}

fn of_unit(unit: &Unit) -> Option<Finding> {
    let kind = unit.last("Type").unwrap_or("simple");
    if kind.starts_with("notify") {
        return None;
    }
    Some(
        Finding::note("unit.type", format!("{} has Type={kind}", unit.file))
            .why("systemd takes the server for ready before it listens, and does not see that it could not")
            .lines(["[Service]", "Type=notify"]),
    )
}

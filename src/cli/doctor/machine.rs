//! What can be read of the machine: files of the kernel and of the system, and what other programs say of it.
//!
//! Everything goes through here, so that a test can hold up another machine, and a server that has closed itself in can
//! ask without starting programs. Main type: [`Machine`].

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where programs for administrators are that a plain user's PATH leaves out.
const FOR_ADMINISTRATORS: [&str; 2] = ["/usr/sbin", "/sbin"];

/// A machine to look at.
#[derive(Clone, Debug)]
pub struct Machine {
    root: PathBuf,
    starts_programs: bool,
}

impl Machine {
    /// This one.
    pub fn this() -> Self {
        Self {
            root: PathBuf::from("/"),
            starts_programs: true,
        }
    }

    /// The files below this directory in place of those below `/`; no program is started.
    pub fn of_files(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            starts_programs: false,
        }
    }

    /// The content of a file, by its absolute path.
    pub(super) fn read(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.place(path)).ok()
    }

    /// The number that a file of one line holds.
    pub(super) fn number(&self, path: &str) -> Option<u64> {
        self.read(path)?.trim().parse().ok()
    }

    pub(super) fn has(&self, path: &str) -> bool {
        self.place(path).exists()
    }

    /// The files in a directory whose names end so, in order.
    pub(super) fn files(&self, directory: &str, ending: &str) -> Vec<String> {
        let entries = fs::read_dir(self.place(directory)).into_iter().flatten();
        let mut files: Vec<_> = entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| name.ends_with(ending))
            .map(|name| format!("{directory}/{name}"))
            .collect();
        files.sort();
        files
    }

    fn place(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// What a program prints; else why there is nothing.
    pub(super) fn run(&self, program: &str, arguments: &[&str]) -> Result<String, String> {
        if !self.starts_programs {
            return Err(format!("{program} is not started from here"));
        }
        let attempt = |program: &Path| {
            Command::new(program)
                .args(arguments)
                .env("LC_ALL", "C")
                .stdin(Stdio::null())
                .output()
        };
        let outside = FOR_ADMINISTRATORS
            .iter()
            .map(|directory| Path::new(directory).join(program))
            .find(|path| path.exists());
        let output = match (attempt(Path::new(program)), outside) {
            (Err(_), Some(path)) => attempt(&path),
            (output, _) => output,
        };
        let output = output.map_err(|error| format!("{program} cannot be started: {error}"))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let complaint = String::from_utf8_lossy(&output.stderr);
        let complaint = complaint.lines().find(|line| !line.trim().is_empty());
        Err(format!(
            "{program} says: {}",
            complaint.unwrap_or("nothing").trim()
        ))
    }
}

//! What can be read of the machine: files of the kernel and of the system, and what other programs say of it.
//!
//! Everything goes through here, so that a test can hold up another machine, and a server that has closed itself in can
//! ask without opening files and without starting programs. Main type: [`Machine`].

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

/// Where programs for administrators are that a plain user's PATH leaves out.
const FOR_ADMINISTRATORS: [&str; 2] = ["/usr/sbin", "/sbin"];

/// No file that is read here is longer: lists of authorities have some 200 KB.
const LONGEST: usize = 4 << 20;

/// A machine to look at.
#[derive(Clone, Debug)]
pub struct Machine {
    root: PathBuf,
    starts_programs: bool,
    kept: Option<Arc<Mutex<Kept>>>,
}

/// What was opened once stays open, and is read again where it lies; what could not be is not tried again.
#[derive(Debug, Default)]
struct Kept {
    files: HashMap<PathBuf, Option<Arc<File>>>,
    directories: HashMap<PathBuf, Vec<String>>,
}

impl Machine {
    /// This one.
    pub fn this() -> Self {
        Self {
            root: PathBuf::from("/"),
            starts_programs: true,
            kept: None,
        }
    }

    /// This one, for a process that will close its way to files: what has been looked at once can be looked at for ever.
    /// The kernel's settings are read as they are each time, other files as they were. No program is started.
    pub fn kept() -> Self {
        Self {
            kept: Some(Arc::default()),
            ..Self::of_files("/")
        }
    }

    /// The files below this directory in place of those below `/`; no program is started.
    pub fn of_files(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            starts_programs: false,
            kept: None,
        }
    }

    /// The content of a file, by its absolute path.
    pub(super) fn read(&self, path: &str) -> Option<String> {
        String::from_utf8(self.bytes(&self.place(path)).ok()?).ok()
    }

    /// The content of a file that the operator named, wherever that is.
    pub(super) fn bytes(&self, path: &Path) -> io::Result<Vec<u8>> {
        match &self.kept {
            None => fs::read(path),
            Some(_) => read_whole(&*self.open(path)?),
        }
    }

    /// Opens a file and keeps it open, on a machine that is for that.
    pub(super) fn open(&self, path: &Path) -> io::Result<Arc<File>> {
        let Some(kept) = &self.kept else {
            return File::open(path).map(Arc::new);
        };
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        let file = match kept.files.get(path) {
            Some(file) => file.clone(),
            None => {
                let file = File::open(path).ok().map(Arc::new);
                kept.files.insert(path.to_owned(), file.clone());
                file
            }
        };
        file.ok_or_else(|| io::Error::other("it could not be opened when the server started"))
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
        let place = self.place(directory);
        let names = match &self.kept {
            None => names(&place),
            Some(kept) => {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                let all = kept.directories.entry(place);
                all.or_insert_with_key(|place| names(place)).clone()
            }
        };
        let wanted = names.iter().filter(|name| name.ends_with(ending));
        wanted.map(|name| format!("{directory}/{name}")).collect()
    }

    /// Whether everything can be looked at that there is, other programs' knowledge too.
    pub(super) fn starts_programs(&self) -> bool {
        self.starts_programs
    }

    fn place(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// What a program prints; else why there is nothing.
    pub(super) fn run(&self, program: &str, arguments: &[&str]) -> Result<String, String> {
        if !self.starts_programs {
            return Err(format!("a running server does not start {program}"));
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

/// What is in a directory, in order.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    let names = entries.flatten().map(|entry| entry.file_name());
    let mut names: Vec<_> = names.filter_map(|name| name.into_string().ok()).collect();
    names.sort();
    names
}

/// From its beginning, wherever it was read to before.
fn read_whole(file: &File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut block = [0; 4096];
    while bytes.len() < LONGEST {
        let length = file.read_at(&mut block, bytes.len() as u64)?;
        if length == 0 {
            break;
        }
        bytes.extend_from_slice(block.get(..length).unwrap_or_default());
    }
    Ok(bytes)
}

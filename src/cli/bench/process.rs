//! What a process on this machine uses: processor time, memory, and what its sockets had no room for, from /proc.
//!
//! The main types are [`Process`] and [`Memory`].

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// A process to watch.
#[derive(Clone, Debug)]
pub struct Process {
    directory: PathBuf,
}

/// Resident memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// All of it.
    pub resident: u64,
    /// With pages that other processes share counted in part.
    pub proportional: u64,
}

impl Process {
    /// The process of a number.
    ///
    /// # Errors
    /// A sentence, where there is none that can be watched.
    pub fn watch(pid: u32) -> Result<Process, String> {
        let process = Process {
            directory: PathBuf::from(format!("/proc/{pid}")),
        };
        match process.cpu() {
            Some(_) => Ok(process),
            None => Err(format!("there is no process {pid} that can be watched")),
        }
    }

    /// This process.
    #[must_use]
    pub fn own() -> Process {
        Process {
            directory: PathBuf::from("/proc/self"),
        }
    }

    /// Processor time of all threads that live. The process's own `schedstat` is that of its first thread alone, so the
    /// threads' are added up; they count in nanoseconds, where `stat` counts in ticks of 10 ms.
    #[must_use]
    pub fn cpu(&self) -> Option<Duration> {
        let mut nanoseconds = 0;
        for thread in fs::read_dir(self.directory.join("task")).ok()? {
            // A thread that has just ended is no reason to give up.
            let Some(text) = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok() else {
                continue;
            };
            nanoseconds += text.split(' ').next()?.parse::<u64>().ok()?;
        }
        Some(Duration::from_nanos(nanoseconds))
    }

    /// Memory now.
    #[must_use]
    pub fn memory(&self) -> Option<Memory> {
        let text = fs::read_to_string(self.directory.join("smaps_rollup")).ok()?;
        let bytes = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
            Some(kilobytes * 1024)
        };
        Some(Memory {
            resident: bytes("Rss:")?,
            proportional: bytes("Pss:")?,
        })
    }

    /// How many datagrams were dropped so far because one of the UDP sockets that are open now was full.
    #[must_use]
    pub fn dropped(&self) -> Option<u64> {
        let mut sockets = HashSet::new();
        for entry in fs::read_dir(self.directory.join("fd")).ok()? {
            // Others' descriptors come and go.
            let Ok(target) = fs::read_link(entry.ok()?.path()) else {
                continue;
            };
            let inode = target.to_str().and_then(|target| {
                let target = target.strip_prefix("socket:[")?;
                target.strip_suffix(']')?.parse::<u64>().ok()
            });
            sockets.extend(inode);
        }
        let mut dropped = 0;
        for table in ["net/udp", "net/udp6"] {
            let Ok(text) = fs::read_to_string(self.directory.join(table)) else {
                continue;
            };
            for line in text.lines().skip(1) {
                // The inode is the tenth column, the count of drops the thirteenth.
                let mut columns = line.split_whitespace().skip(9);
                let inode = columns.next().and_then(|inode| inode.parse().ok());
                if inode.is_some_and(|inode: u64| sockets.contains(&inode)) {
                    let drops = columns.nth(2).and_then(|drops| drops.parse::<u64>().ok());
                    dropped += drops.unwrap_or(0);
                }
            }
        }
        Some(dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_every_thread_counts() {
        // Threads of other tests end meanwhile, and their time is in the sum no more.
        let counts = (0..20).any(|_| {
            let before = Process::own().cpu().unwrap();
            let done = std::sync::mpsc::channel::<()>();
            let (ready, wait) = std::sync::mpsc::channel();
            let thread = std::thread::spawn(move || {
                let start = std::time::Instant::now();
                while start.elapsed() < Duration::from_millis(60) {
                    std::hint::spin_loop();
                }
                ready.send(()).unwrap();
                let _ = done.1.recv();
            });
            wait.recv().unwrap();
            let after = Process::own().cpu().unwrap();
            drop(done.0);
            thread.join().unwrap();
            let spent = after.checked_sub(before);
            spent.is_some_and(|spent| spent > Duration::from_millis(5))
        });
        assert!(counts);
    }

    #[test]
    fn memory_and_drops_of_this_process_are_known() {
        let memory = Process::own().memory().unwrap();
        assert!(memory.resident >= memory.proportional && memory.proportional > 0);
        let _socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(Process::own().dropped().is_some());
    }

    #[test]
    fn a_process_that_is_not_there_is_told() {
        assert!(Process::watch(u32::MAX).is_err());
    }
}

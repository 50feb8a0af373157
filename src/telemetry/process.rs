//! What the process costs: processor time of it and of each worker, memory, descriptors.
//!
//! What is read from files is opened before the sandbox closes the way to them, and read again where it lies. Main
//! types: [`Process`], [`Cost`].

use nix::dir::Dir;
use nix::fcntl::OFlag;
use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};
use nix::sys::stat::{Mode, fstat};
use nix::time::{ClockId, clock_gettime};
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Where the cost of this process is read.
#[derive(Debug)]
pub struct Process {
    memory: Option<File>,
    descriptors: Mutex<Option<Dir>>,
    page: u64,
    started: Duration,
}

/// What the process has cost so far, and has at present; `None` for what the system does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Processor time, of all threads.
    pub cpu: Option<Duration>,
    /// Memory in RAM, in bytes.
    pub resident: Option<u64>,
    /// Descriptors open.
    pub open_descriptors: Option<u64>,
    /// Descriptors there may be.
    pub max_descriptors: Option<u64>,
    /// When it started, Unix time.
    pub started: Duration,
}

impl Process {
    /// This process. To be called before the sandbox is closed.
    #[must_use]
    pub fn open() -> Self {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE);
        Process {
            memory: File::open("/proc/self/statm").ok(),
            descriptors: Mutex::new(Dir::open("/proc/self/fd", flags, Mode::empty()).ok()),
            page: page
                .ok()
                .flatten()
                .and_then(|page| u64::try_from(page).ok())
                .unwrap_or(4096),
            started: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default(),
        }
    }

    /// The cost by now.
    #[must_use]
    pub fn cost(&self) -> Cost {
        Cost {
            cpu: cpu(),
            resident: self.resident(),
            open_descriptors: self.open_descriptors(),
            max_descriptors: getrlimit(Resource::RLIMIT_NOFILE)
                .ok()
                .map(|(soft, _)| soft),
            started: self.started,
        }
    }

    fn resident(&self) -> Option<u64> {
        let mut text = [0; 128];
        let length = self.memory.as_ref()?.read_at(&mut text, 0).ok()?;
        let text = std::str::from_utf8(text.get(..length)?).ok()?;
        let pages: u64 = text.split_whitespace().nth(1)?.parse().ok()?;
        Some(pages * self.page)
    }

    fn open_descriptors(&self) -> Option<u64> {
        let mut dir = self
            .descriptors
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let dir = dir.as_mut()?;
        // Linux 6.2 and later say it as the directory's size. With 19,000 sessions to count them takes 16 ms. The
        // directory's own descriptor is not the server's.
        let size = fstat(&*dir).map_or(0, |data| data.st_size);
        if let Ok(size @ 1..) = u64::try_from(size) {
            return Some(size - 1);
        }
        // Rewound when the listing is dropped. `.` and `..` are there too.
        let entries = dir.iter().filter_map(Result::ok).count();
        Some((entries as u64).saturating_sub(3))
    }
}

fn cpu() -> Option<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    let time = |seconds: i64, micros: i64| {
        let whole = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        whole + Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    };
    let (user, system) = (usage.user_time(), usage.system_time());
    Some(time(user.tv_sec(), user.tv_usec()) + time(system.tv_sec(), system.tv_usec()))
}

/// Processor time of a thread of this process, by its number in the system; `None` where it is gone.
#[must_use]
pub fn thread_cpu(thread: i32) -> Option<Duration> {
    // A clock's number is that of the thread, inverted, with its kind in the lowest bits: of a thread (4), of the
    // scheduler (2). See clock_getcpuclockid(3) and the kernel's posix-timers.
    let clock = ClockId::from_raw((!thread << 3) | 6);
    let time = clock_gettime(clock).ok()?;
    Some(Duration::new(
        u64::try_from(time.tv_sec()).ok()?,
        u32::try_from(time.tv_nsec()).ok()?,
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use std::hint::black_box;

    #[test]
    fn work_memory_and_descriptors_show() {
        let process = Process::open();
        let thread = nix::unistd::gettid().as_raw();
        let (before, own) = (process.cost(), thread_cpu(thread).unwrap());
        let memory = vec![1_u8; 64 << 20];
        let mut sum = 0_u64;
        while thread_cpu(thread).unwrap() < own + Duration::from_millis(30) {
            sum = black_box(memory.iter().map(|byte| u64::from(*byte)).sum::<u64>() + sum);
        }
        let files: Vec<_> = (0..50).map(|_| File::open("/dev/null").unwrap()).collect();
        let after = process.cost();
        assert!(after.cpu.unwrap() >= before.cpu.unwrap() + Duration::from_millis(20));
        assert!(after.resident.unwrap() >= before.resident.unwrap() + (60 << 20));
        let more = after.open_descriptors.unwrap() - before.open_descriptors.unwrap();
        // Other tests open some as well, and close some.
        assert!((40..60).contains(&more), "{more}");
        assert!(after.max_descriptors.unwrap() >= after.open_descriptors.unwrap());
        drop(files);
        assert_eq!(thread_cpu(i32::MAX - 1), None);
    }
}

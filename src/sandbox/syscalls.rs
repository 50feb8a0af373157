//! System calls: those a server needs, and no others, by seccomp.
//!
//! Two filters lie upon each other, and the stricter answer counts. What a server never does on any account, such as
//! starting a program, ends the process on the spot, since whoever asks for it is not the server. Everything
//! else that is not listed is answered with ENOSYS, as a kernel does that does not have it: a newer C library that tries
//! something new then does without, where a dead server would be the operator's trouble and a refusal (EPERM) would be
//! taken for an answer.

use super::Layer;
use std::collections::BTreeMap;

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(super) fn restrict() -> Result<Layer, seccompiler::Error> {
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

    let arch = if cfg!(target_arch = "x86_64") {
        TargetArch::x86_64
    } else {
        TargetArch::aarch64
    };
    let not_there = SeccompAction::Errno(libc::ENOSYS as u32);
    let allowed = SeccompFilter::new(allowed()?, not_there, SeccompAction::Allow, arch)?;
    let never = NEVER.iter().map(|call| (*call, Vec::new())).collect();
    let deadly = SeccompAction::KillProcess;
    let never = SeccompFilter::new(never, SeccompAction::Allow, deadly, arch)?;
    let programs: [BpfProgram; 2] = [never.try_into()?, allowed.try_into()?];
    for program in &programs {
        seccompiler::apply_filter(program)?;
    }
    Ok(Layer::Full)
}

/// On other processors nobody has tried what a server needs.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(super) fn restrict() -> Result<Layer, std::convert::Infallible> {
    Ok(Layer::Unavailable)
}

/// What only somebody else would do.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
const NEVER: &[i64] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_kexec_load,
    libc::SYS_mount,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_userfaultfd,
    libc::SYS_perf_event_open,
];

/// What is needed with any arguments.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
const CALLS: &[i64] = &[
    // Memory.
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_munmap,
    // Threads and what wakes them.
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_getcpu,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_membarrier,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_sigaltstack,
    libc::SYS_tkill,
    // Time.
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_nanosleep,
    // Waiting.
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_pipe2,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    // Sockets, but for making one.
    libc::SYS_accept4,
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_listen,
    libc::SYS_recvfrom,
    libc::SYS_recvmmsg,
    libc::SYS_recvmsg,
    libc::SYS_sendmmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    // Descriptors. Which files can be opened is not decided here.
    libc::SYS_close,
    libc::SYS_dup,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_fsync,
    libc::SYS_getdents64,
    libc::SYS_lseek,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_pread64,
    libc::SYS_read,
    libc::SYS_readlinkat,
    libc::SYS_readv,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_statx,
    libc::SYS_write,
    libc::SYS_writev,
    // What the process is told of itself.
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getrandom,
    libc::SYS_getrusage,
    libc::SYS_getuid,
    libc::SYS_sysinfo,
    libc::SYS_uname,
];

/// What newer processors do by other calls.
#[cfg(target_arch = "x86_64")]
const OLDER: &[i64] = &[
    libc::SYS_epoll_wait,
    libc::SYS_getrlimit,
    libc::SYS_lstat,
    libc::SYS_open,
    libc::SYS_poll,
    libc::SYS_readlink,
    libc::SYS_rename,
    libc::SYS_stat,
    libc::SYS_time,
];
#[cfg(target_arch = "aarch64")]
const OLDER: &[i64] = &[];

/// All that is allowed, with what the arguments have to be.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn allowed() -> Result<BTreeMap<i64, Vec<seccompiler::SeccompRule>>, seccompiler::BackendError> {
    use seccompiler::SeccompCmpArgLen::{Dword, Qword};
    use seccompiler::SeccompCmpOp::{Eq, MaskedEq};
    use seccompiler::{SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};

    /// One rule: an argument, how much of it is looked at, what it has to be.
    fn rule(
        argument: u8,
        length: SeccompCmpArgLen,
        operator: SeccompCmpOp,
        value: u64,
    ) -> Result<SeccompRule, seccompiler::BackendError> {
        SeccompRule::new(vec![SeccompCondition::new(
            argument, length, operator, value,
        )?])
    }
    let one_of = |argument: u8, values: &[i32]| {
        let values = values.iter();
        let rules = values.map(|value| rule(argument, Dword, Eq, u64::from(*value as u32)));
        rules.collect::<Result<Vec<_>, _>>()
    };

    let mut allowed: BTreeMap<i64, Vec<SeccompRule>> = CALLS
        .iter()
        .chain(OLDER)
        .map(|call| (*call, Vec::new()))
        .collect();
    let families = [libc::AF_INET, libc::AF_INET6, libc::AF_UNIX];
    let mut sockets = one_of(0, &families)?;
    // Which addresses this machine has is asked this way; by no other protocol of the kernel's.
    sockets.push(SeccompRule::new(vec![
        SeccompCondition::new(0, Dword, Eq, libc::AF_NETLINK as u64)?,
        SeccompCondition::new(2, Dword, Eq, libc::NETLINK_ROUTE as u64)?,
    ])?);
    allowed.insert(libc::SYS_socket, sockets);
    // The runtime wakes itself for signals by a pair.
    allowed.insert(libc::SYS_socketpair, one_of(0, &[libc::AF_UNIX])?);
    // Memory is for data: nothing becomes code that was not.
    let no_code = || rule(2, Dword, MaskedEq(libc::PROT_EXEC as u64), 0);
    allowed.insert(libc::SYS_mmap, vec![no_code()?]);
    allowed.insert(libc::SYS_mprotect, vec![no_code()?]);
    // Threads, but nothing that looks like a container. clone3 keeps its flags where no filter sees them; C libraries
    // do without where it is missing.
    let namespaces = libc::CLONE_NEWUSER
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWCGROUP;
    let mask = u64::from(namespaces as u32) | libc::CLONE_THREAD as u64;
    let threads = rule(0, Qword, MaskedEq(mask), libc::CLONE_THREAD as u64)?;
    allowed.insert(libc::SYS_clone, vec![threads]);
    // A file that is to be its owner's alone is made so, and no file anything else.
    allowed.insert(libc::SYS_fchmod, one_of(1, &[0o600])?);
    // Names of threads and of memory, and how exactly a thread sleeps.
    let options = [
        libc::PR_SET_NAME,
        libc::PR_GET_NAME,
        libc::PR_SET_VMA,
        libc::PR_SET_TIMERSLACK,
    ];
    allowed.insert(libc::SYS_prctl, one_of(0, &options)?);
    let requests = [
        libc::FIONBIO,
        libc::FIOCLEX,
        libc::FIONREAD,
        libc::TCGETS,
        libc::TIOCGWINSZ,
    ];
    let requests = requests.map(|request| request as i32);
    allowed.insert(libc::SYS_ioctl, one_of(1, &requests)?);
    // Limits are read, of this process.
    allowed.insert(libc::SYS_prlimit64, vec![rule(2, Qword, Eq, 0)?]);
    // Its own threads are told to end, which is what aborting is.
    let own = std::process::id();
    allowed.insert(libc::SYS_tgkill, vec![rule(0, Dword, Eq, own.into())?]);
    Ok(allowed)
}

//! Which groups the process at the other end of a unix socket is in.
//!
//! Its main group comes with its user; the supplementary ones have to be asked for. Main function: [`of`].

use std::io;
use std::os::fd::AsRawFd;

/// More groups than these are not looked at.
const MOST: usize = 1024;

/// The supplementary groups that the process had when it connected.
///
/// # Errors
/// Where the kernel does not know SO_PEERGROUPS, or there are too many groups.
pub fn of(socket: &impl AsRawFd) -> io::Result<Vec<u32>> {
    let mut groups = vec![0_u32; MOST];
    let mut length = (MOST * size_of::<u32>()) as libc::socklen_t;
    #[allow(unsafe_code)]
    // SAFETY: the kernel writes at most `length` bytes, which `groups` has, and the descriptor outlives the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERGROUPS,
            groups.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    groups.truncate(length as usize / size_of::<u32>());
    Ok(groups)
}

//! Whether a folder is on a network file system, where several machines may append to one file.

use std::os::fd::AsFd as _;

use cap_std::fs::Dir;

/// Whether a folder is on a network file system, where appends of several machines with `O_APPEND` may
/// overwrite each other; for NFS see open(2). The numbers are from statfs(2) and the Linux sources.
#[cfg(target_os = "linux")]
pub(crate) fn is_network_file_system(dir: &Dir) -> bool {
    const NFS: u64 = 0x6969;
    const SMB: u64 = 0x517b;
    const SMB2: u64 = 0xfe53_4d42;
    const CIFS: u64 = 0xff53_4d42;
    const LUSTRE: u64 = 0x0bd0_0bd0;
    const GPFS: u64 = 0x4750_4653;
    const CEPH: u64 = 0x00c3_6400;
    const BEEGFS: u64 = 0x1983_0326;
    const FUSE: u64 = 0x6573_5546;
    let network = [NFS, SMB, SMB2, CIFS, LUSTRE, GPFS, CEPH, BEEGFS, FUSE];
    rustix::fs::fstatfs(dir.as_fd())
        .is_ok_and(|system| network.contains(&((system.f_type as u64) & 0xffff_ffff)))
}

/// Unknown on this system; false, so that processes share a file by default.
#[cfg(not(target_os = "linux"))]
pub(crate) fn is_network_file_system(dir: &Dir) -> bool {
    let _ = dir.as_fd();
    false
}

//! Disks that are too small.

use std::path::{Path, PathBuf};
use std::process::Command;
use xtask::server;

/// A small file system that fills up.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` where this process may not mount, which is told.
    pub fn try_mount(size: &str) -> Option<Self> {
        let is_possible = server::is_root()
            && Command::new("unshare")
                .args(["--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"])
                .status()
                .is_ok_and(|it| it.success());
        if !is_possible {
            println!("not checked: this test mounts a small tmpfs, which is not possible here");
            return None;
        }
        Some(Self::mount(size))
    }

    pub fn mount(size: &str) -> Self {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        // The name tells what a later run may remove.
        let path = server::work_directory().unwrap().join(format!("small-disk-{number}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(&path).status();
        assert!(mounted.is_ok_and(|status| status.success()), "this test mounts a small tmpfs and needs root for it");
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Takes all the space that is left.
    pub fn fill(&self) -> PathBuf {
        let ballast = self.0.join("ballast");
        let _ = Command::new("dd").args(["if=/dev/zero", "bs=4k"]).arg(format!("of={}", ballast.display())).output();
        ballast
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
        let _ = std::fs::remove_dir(&self.0);
    }
}

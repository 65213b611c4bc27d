//! A tunnel of OpenSSH that compresses, over a link. Its daemon is an ordinary program with a port, keys and settings of its own.

use super::link::{Link, Quality, Traffic};
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use xtask::Result;
use xtask::server::{ScratchDirectory, as_server_user, server_user};

pub struct Tunnel {
    link: Link,
    port: u16,
    /// The daemon, and the client.
    programs: Vec<Child>,
    scratch: ScratchDirectory,
}

/// How long a program may take to listen.
const PATIENCE: Duration = Duration::from_secs(15);

impl Tunnel {
    /// Opens a tunnel to a server. Returns none where there is no sshd.
    pub fn to(server_port: u16, quality: Quality) -> Result<Option<Self>> {
        let Some(daemon) = found("sshd") else { return Ok(None) };
        let scratch = ScratchDirectory::create("bench-ssh")?;
        let path = |name: &str| scratch.path().join(name);
        for key in ["host", "client"] {
            let mut keygen = as_server_user(Path::new("ssh-keygen"), None);
            let status = keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path(key)).status()?;
            if !status.success() {
                return Err(format!("ssh-keygen: {status}").into());
            }
        }
        fs::copy(path("client.pub"), path("authorized"))?;
        fs::set_permissions(path("authorized"), std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
        let daemon_port = free_port()?;
        let mut sshd = as_server_user(&daemon, Some("TERM"));
        sshd.args(["-D", "-e", "-f", "/dev/null", "-p", &daemon_port.to_string(), "-h"]).arg(path("host"));
        for option in [
            "ListenAddress=127.0.0.1".to_owned(),
            format!("AuthorizedKeysFile={}", path("authorized").display()),
            "StrictModes=no".to_owned(),
            "UsePAM=no".to_owned(),
            "PidFile=none".to_owned(),
            format!("PermitOpen=127.0.0.1:{server_port}"),
        ] {
            sshd.args(["-o", &option]);
        }
        let log = |name: &str| fs::File::create(path(name)).map(Stdio::from);
        let mut programs = vec![sshd.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log("sshd.log")?).spawn()?];
        let link = Link::to(daemon_port, quality)?;
        let port = free_port()?;
        let mut ssh = as_server_user(Path::new("ssh"), Some("TERM"));
        ssh.args(["-C", "-N", "-F", "/dev/null", "-p", &link.port().to_string(), "-i"]).arg(path("client"));
        for option in
            ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "BatchMode=yes", "ExitOnForwardFailure=yes"]
        {
            ssh.args(["-o", option]);
        }
        ssh.args(["-L", &format!("127.0.0.1:{port}:127.0.0.1:{server_port}")]);
        let user = server_user().map_or_else(|| std::env::var("USER").unwrap_or_default(), str::to_owned);
        ssh.arg(format!("{user}@127.0.0.1")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log("ssh.log")?);
        let opened = listening(daemon_port).and_then(|()| {
            programs.push(ssh.spawn()?);
            listening(port)
        });
        let tunnel = Self { link, port, programs, scratch };
        opened.map_err(|error| {
            let told = |name: &str| fs::read_to_string(tunnel.scratch.path().join(name)).unwrap_or_default();
            format!("no tunnel of ssh: {error}\n{}{}", told("sshd.log"), told("ssh.log"))
        })?;
        Ok(Some(tunnel))
    }

    /// The port that leads to the server.
    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn take_traffic(&self) -> Traffic {
        self.link.take_traffic()
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        for program in self.programs.iter_mut().rev() {
            let _ = program.kill();
            let _ = program.wait();
        }
    }
}

/// A program of the search path, or of the directory of daemons, which not every user searches.
fn found(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    directories.map(|directory| directory.join(program)).find(|path| path.is_file())
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn listening(port: u16) -> Result<()> {
    let begun = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if begun.elapsed() > PATIENCE {
            return Err(format!("nobody listens on port {port}").into());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

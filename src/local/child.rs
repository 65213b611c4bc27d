//! Programs that a session runs: they end with it, and it can be cancelled while they run.

use super::network::HeldSignals;
use super::{interrupts, memory};
use crate::error::{Error, Result};
use pgrx::prelude::*;
use pgrx::{pg_guard, pg_sys};
use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

/// What a program has written until its end.
pub struct Output {
    pub text: Vec<u8>,
    /// The end of its messages.
    pub messages: String,
    pub succeeded: bool,
}

/// The directory that the programs of this server are in.
pub fn server_programs() -> Option<PathBuf> {
    // SAFETY: the path of the server's own program, NUL-terminated, which is set before there are sessions.
    let path = unsafe { CStr::from_ptr((&raw const pg_sys::my_exec_path).cast()) };
    let path = PathBuf::from(path.to_str().ok()?);
    path.parent().map(Path::to_owned)
}

/// Runs a program with these arguments and this environment, and nothing of this process's own but its rights in the operating
/// system. It ends when this session does, or its statement.
///
/// # Errors
/// When it cannot be started, or writes more than the server takes for a value.
pub fn run(program: &Path, arguments: &[String], environment: &[(&str, String)]) -> Result<Output> {
    let mut text = Vec::new();
    let output = run_into(
        program,
        arguments,
        environment,
        &mut |bytes| {
            if text.len() + bytes.len() > memory::MAX_ALLOC_SIZE {
                return Err(Error::new(
                    PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
                    "a program has written more than 1 GB",
                ));
            }
            memory::reserve(&mut text, bytes.len());
            text.extend_from_slice(bytes);
            Ok(())
        },
        &mut |_| {},
    )?;
    Ok(Output { text, ..output })
}

/// The same for a program whose text `sink` takes as it comes. An error of it ends the program. `on_messages` is shown what the
/// program says besides.
pub fn run_into(
    program: &Path,
    arguments: &[String],
    environment: &[(&str, String)],
    sink: &mut dyn FnMut(&[u8]) -> Result<()>,
    on_messages: &mut dyn FnMut(&[u8]),
) -> Result<Output> {
    let streams = [Stdio::null(), Stdio::piped(), Stdio::piped()];
    spawn(program, arguments, environment, streams, libc::SIGKILL)?.output(sink, on_messages)
}

/// Starts a server that goes on beside this session, and ends with it. It reads a file, if there is one, and writes into another.
pub fn start(
    program: &Path,
    arguments: &[String],
    environment: &[(&str, String)],
    input: Option<File>,
    log: File,
) -> Result<Background> {
    let too = log.try_clone().map_err(|error| Error::internal(format!("could not use a file twice: {error}")))?;
    let streams = [input.map_or_else(Stdio::null, Stdio::from), log.into(), too.into()];
    spawn(program, arguments, environment, streams, END_OF_SERVER).map(Background)
}

/// The signal that ends a server at once. One that is killed would leave its shared memory behind, and its processes for a moment.
const END_OF_SERVER: i32 = libc::SIGQUIT;

/// `end` is the signal that ends the program with this session.
fn spawn(
    program: &Path,
    arguments: &[String],
    environment: &[(&str, String)],
    [input, text, messages]: [Stdio; 3],
    end: i32,
) -> Result<Running> {
    end_at_exit();
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .current_dir("/")
        .stdin(input)
        .stdout(text)
        .stderr(messages)
        // Signals for this session's group are not for it, and it is ended with all that it has started.
        .process_group(0);
    let parent = std::process::id() as i32;
    // SAFETY: the closure makes system calls alone.
    unsafe { command.pre_exec(move || become_child(parent, end)) };
    let started = {
        // The server's handlers must not run in the copy of this process that becomes the program.
        let _held = HeldSignals::hold();
        command.spawn()
    };
    let child = started.map_err(|error| {
        Error::new(
            PgSqlErrorCode::ERRCODE_SYSTEM_ERROR,
            format!("could not run program \"{}\": {error}", program.display()),
        )
    })?;
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner).push((child.id() as i32, end));
    Ok(Running { child, is_gone: false })
}

/// The programs of this process that run, with the signals that end them.
static RUNNING: Mutex<Vec<(i32, i32)>> = Mutex::new(Vec::new());

/// Ends programs when a session is terminated: that runs the server's callbacks, but drops no Rust values. What a program has
/// started goes with it, which the death of this process alone does not see to.
fn end_at_exit() {
    static REGISTERED: Once = Once::new();
    // SAFETY: registers a callback of this library, which stays loaded.
    REGISTERED.call_once(|| unsafe { pg_sys::on_proc_exit(Some(end_programs), pg_sys::Datum::null()) });
}

#[pg_guard]
unsafe extern "C-unwind" fn end_programs(_code: std::ffi::c_int, _argument: pg_sys::Datum) {
    end_all();
}

/// Ends all programs of this process at once, and waits until they are gone.
pub fn end_all() {
    for (pid, end) in RUNNING.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
        // SAFETY: signals the group of a process that has not been waited for, and waits for it.
        unsafe {
            if end != libc::SIGKILL {
                libc::kill(pid, end);
                wait_while(|| has_ended(pid) == Some(false));
            }
            libc::kill(-pid, libc::SIGKILL);
            libc::waitpid(pid, std::ptr::null_mut(), 0);
        }
    }
}

/// How long a server may take to end at once: it gives its own processes five seconds.
const LONGEST_END: Duration = Duration::from_secs(10);

/// Waits for the end of a server, for as long as that may take.
fn wait_while(mut is_there: impl FnMut() -> bool) {
    let begun = Instant::now();
    while is_there() && begun.elapsed() < LONGEST_END {
        wait_for_any([-1, -1]);
    }
}

/// Returns whether a child has ended, and lets it keep its number; `None` where there is no such child.
fn has_ended(pid: i32) -> Option<bool> {
    let mut told = MaybeUninit::<libc::siginfo_t>::zeroed();
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: the structure is zeroed, and filled where the child has ended.
    unsafe {
        let is_told = libc::waitid(libc::P_PID, pid as libc::id_t, told.as_mut_ptr(), flags) == 0;
        is_told.then(|| told.assume_init().si_pid() != 0)
    }
}

/// A server that goes on beside this session. Dropping it ends it.
pub struct Background(Running);

impl Background {
    /// Returns whether it still runs.
    pub fn is_running(&mut self) -> bool {
        !self.0.is_gone()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if self.is_running() {
            // SAFETY: signals a process that has not been waited for.
            unsafe { libc::kill(self.0.child.id() as i32, END_OF_SERVER) };
        }
        wait_while(|| self.is_running());
    }
}

/// Ends a server that goes on beside this session and is not its child, at once. It runs in its data directory.
pub fn end_server(pid: i32, data: &Path) {
    let Ok(data) = data.canonicalize() else { return };
    let is_it = || std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|directory| directory == data);
    if pid > 1 && is_it() {
        // SAFETY: signals a process that was found to be that server.
        unsafe { libc::kill(pid, END_OF_SERVER) };
        wait_while(is_it);
    }
}

/// In the new process, before the program.
fn become_child(parent: i32, end: i32) -> io::Result<()> {
    // SAFETY: system calls on this process alone; the paths are NUL-terminated.
    unsafe {
        // Whoever ends the session, it does not outlive it.
        if libc::prctl(libc::PR_SET_PDEATHSIG, end) != 0 {
            return Err(io::Error::last_os_error());
        }
        if libc::getppid() != parent {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        close_files_on_exec();
        // The postmaster may be spared when memory is short; this is not for its programs.
        let score = libc::open(c"/proc/self/oom_score_adj".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        if score >= 0 {
            libc::write(score, c"0".as_ptr().cast(), 1);
            libc::close(score);
        }
        take_all_signals();
    }
    Ok(())
}

/// Gives all signals their default meaning and unblocks them. Otherwise the program would begin with those blocked that are held
/// while it is started, and only SIGKILL would end it.
///
/// # Safety
/// Called in a process that becomes a program.
unsafe fn take_all_signals() {
    // SAFETY: system calls on this process alone. The server's handlers are gone before a signal can arrive.
    unsafe {
        for signal in 1..libc::SIGRTMIN() {
            // SIGKILL, SIGSTOP and those of the C library cannot be changed, which is as well.
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
    }
}

/// Keeps the files and sockets of this process out of the program. Before version 16 the server does not do so itself.
///
/// # Safety
/// Called in a process that becomes a program.
unsafe fn close_files_on_exec() {
    const FIRST: u32 = 3;
    // SAFETY: marks file descriptors; those that are none are passed over.
    unsafe {
        if libc::syscall(libc::SYS_close_range, FIRST, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) == 0 {
            return;
        }
        // An older kernel.
        let most = libc::sysconf(libc::_SC_OPEN_MAX).clamp(0, 1 << 20) as i32;
        for descriptor in FIRST as i32..most {
            libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC);
        }
    }
}

/// A program that runs. Dropping it ends it, with all that it has started.
struct Running {
    child: Child,
    /// Whether it has ended and its number may be another's.
    is_gone: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        let pid = self.child.id() as i32;
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).retain(|&(running, _)| running != pid);
        if !self.is_gone {
            self.end_group();
            let _ = self.child.wait();
        }
    }
}

impl Running {
    /// Returns whether the program has ended. Its number is another's from then on.
    fn is_gone(&mut self) -> bool {
        self.is_gone |= !matches!(self.child.try_wait(), Ok(None));
        self.is_gone
    }

    /// Returns whether the program has ended, and lets it keep its number.
    fn has_ended(&self) -> bool {
        self.is_gone || has_ended(self.child.id() as i32) == Some(true)
    }

    /// Ends the program and all that it has started and left.
    fn end_group(&self) {
        // SAFETY: signals the group of a process that has not been waited for, so that its number is its own.
        unsafe { libc::kill(-(self.child.id() as i32), libc::SIGKILL) };
    }

    fn output(
        mut self,
        sink: &mut dyn FnMut(&[u8]) -> Result<()>,
        on_messages: &mut dyn FnMut(&[u8]),
    ) -> Result<Output> {
        let (Some(mut text_pipe), Some(mut message_pipe)) = (self.child.stdout.take(), self.child.stderr.take()) else {
            return Err(Error::internal("a program was started without pipes"));
        };
        for pipe in [text_pipe.as_raw_fd(), message_pipe.as_raw_fd()] {
            // SAFETY: sets a flag of a pipe that belongs to this process.
            unsafe { libc::fcntl(pipe, libc::F_SETFL, libc::O_NONBLOCK) };
        }
        let mut messages = Vec::new();
        let (mut text_ended, mut messages_ended) = (false, false);
        while !(text_ended && messages_ended) {
            let open = [(&text_pipe as &dyn AsRawFd, text_ended), (&message_pipe, messages_ended)];
            wait_for_any(open.map(|(pipe, ended)| if ended { -1 } else { pipe.as_raw_fd() }));
            interrupts::check();
            // What it has started may go on and keep the pipes open, as pg_basebackup's receiver of WAL does after a failure.
            if self.has_ended() {
                self.end_group();
            }
            if !text_ended {
                text_ended = read_available(&mut text_pipe, sink)?;
            }
            if !messages_ended {
                messages_ended = read_available(&mut message_pipe, &mut |bytes| {
                    on_messages(bytes);
                    memory::reserve(&mut messages, bytes.len());
                    messages.extend_from_slice(bytes);
                    Ok(())
                })?;
                const MOST_BYTES: usize = 1 << 16;
                let excess = messages.len().saturating_sub(MOST_BYTES);
                messages.drain(..excess);
            }
        }
        let status = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => {
                    self.is_gone = true;
                    break status;
                }
                Ok(None) => wait_for_any([-1, -1]),
                Err(error) => return Err(Error::internal(format!("a program was lost: {error}"))),
            }
            interrupts::check();
        };
        Ok(Output {
            text: Vec::new(),
            messages: String::from_utf8_lossy(&messages).into_owned(),
            succeeded: status.success(),
        })
    }
}

/// Waits a moment for data, or for the end of a pipe.
fn wait_for_any(pipes: [RawFd; 2]) {
    const LONGEST_MILLISECONDS: i32 = 20;
    let mut waited = pipes.map(|fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 });
    // SAFETY: an array of as many elements as counted; negative descriptors are passed over.
    unsafe { libc::poll(waited.as_mut_ptr(), waited.len() as libc::nfds_t, LONGEST_MILLISECONDS) };
}

/// Hands over what has arrived. True at the end.
fn read_available(pipe: &mut impl Read, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<bool> {
    let mut chunk = [0_u8; 1 << 16];
    // After so much it is time to look at interrupts.
    for _ in 0..64 {
        match pipe.read(&mut chunk) {
            Ok(0) => return Ok(true),
            Ok(length) => sink(&chunk[..length])?,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::internal(format!("could not read from a program: {error}"))),
        }
    }
    Ok(false)
}

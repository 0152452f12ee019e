//! Running in the background.
//!
//! ```text
//! command ── fork ── session leader ── fork ── daemon: pid file, error log, user, directory
//!    └─ waits on a pipe: for the set-up, and with `daemon_wait_for_ready` for the services
//! ```
//!
//! The second fork keeps the daemon from ever getting a terminal. Until the daemon says otherwise
//! over the pipe, the command waits; if the daemon ends first, the command fails with the text the
//! daemon has sent. So an error of the set-up is seen where the command was typed.
//!
//! Only the thread that forks exists in the daemon: call this before any other is started.
//!
//! Next: `run.rs`, which calls this.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use pingora_error::{Error, ErrorType, OrErr, Result};

use super::configuration::ServerConf;
use super::report;

/// The longest wait for the set-up of the daemon, which takes milliseconds.
const SETUP_TIMEOUT: Duration = Duration::from_secs(60);

const DEFAULT_READY_TIMEOUT: Duration = Duration::from_secs(600);
const DEFAULT_NOTIFY_TIMEOUT: Duration = Duration::from_secs(60);

/// The byte that says that all is well. Text that comes instead is an error.
const READY: u8 = 0;

/// The most text of an error that the command reads.
const MAX_ERROR_TEXT: u64 = 4096;

/// Tells the command that started the daemon that its services are ready.
pub(super) struct ReadyNotice {
    pipe: PipeWriter,
    timeout: Duration,
    // Locked for as long as the daemon lives.
    pid_file: File,
    wanted: bool,
}

impl ReadyNotice {
    /// Tells the command, which then ends with success. Blocks, at most the time the
    /// configuration allows.
    pub(super) fn send(mut self) -> io::Result<()> {
        let sent = match self.wanted {
            true => wait_until(self.pipe.as_raw_fd(), libc::POLLOUT, self.timeout)
                .and_then(|()| self.pipe.write_all(&[READY])),
            false => Ok(()),
        };
        // The lock lasts as long as the process.
        std::mem::forget(self.pid_file);
        sent
    }
}

/// Forks into the background. Returns in the daemon only: the command ends, with status 0 if the
/// daemon is set up (and ready, if the configuration says to wait for that), else 1. `upgrade` says
/// that the process before this one is still running.
///
/// # Errors
///
/// The process cannot be forked, or the set-up fails and the command is gone.
pub(super) fn daemonize(conf: &ServerConf, upgrade: bool) -> Result<Option<ReadyNotice>> {
    let (reader, writer) = io::pipe().or_err(ErrorType::InternalError, "cannot make a pipe")?;
    if fork()? == Side::Parent {
        drop(writer);
        std::process::exit(wait_for_daemon(reader, conf));
    }
    drop(reader);
    let failure = match set_up(conf, upgrade, &writer) {
        Ok(notice) => return Ok(Some(notice)),
        Err(e) => e,
    };
    let text = report::describe(&failure);
    match (&writer).write_all(text.as_bytes()) {
        // The command says it.
        Ok(()) => std::process::exit(1),
        Err(_) => Err(failure),
    }
}

/// Returns the ids of the user and group a daemon runs as, if any of them is named.
pub(super) fn owner(user: Option<&str>, group: Option<&str>) -> Result<Option<(u32, u32)>> {
    let user = user.map(find_user).transpose()?;
    let group = group.map(find_group).transpose()?;
    if user.is_none() && group.is_none() {
        return Ok(None);
    }
    // SAFETY: these have no arguments and cannot fail.
    let own = unsafe { (libc::geteuid(), libc::getegid()) };
    let (uid, main_group) = user.unwrap_or(own);
    Ok(Some((uid, group.unwrap_or(main_group))))
}

/// What the daemon does between the first fork and its services.
fn set_up(conf: &ServerConf, upgrade: bool, command: &PipeWriter) -> Result<ReadyNotice> {
    // SAFETY: no arguments. A child that was just forked leads no group, so this cannot fail.
    unsafe { libc::setsid() };
    if fork()? == Side::Parent {
        // The session leader has done its part. `_exit`: what is to be done at exit is to be
        // done by the daemon.
        // SAFETY: ends the process, of which this is the only thread.
        unsafe { libc::_exit(0) };
    }
    let owner = owner(conf.user.as_deref(), conf.group.as_deref())?;
    // Files of the daemon may be written by its group, and are no business of others.
    // SAFETY: sets a number of the process.
    unsafe { libc::umask(0o007) };
    let pid_file = write_pid_file(&conf.pid_file, upgrade, owner)?;
    let errors = match &conf.error_log {
        Some(path) => Some(open_error_log(path, owner)?),
        None => None,
    };
    change_directory(conf)?;
    if let Some((uid, gid)) = owner {
        switch_user(conf, uid, gid)?;
    }
    redirect(errors)?;
    let pipe = command
        .try_clone()
        .or_err(ErrorType::InternalError, "cannot keep the pipe")?;
    let notice = ReadyNotice {
        pipe,
        timeout: seconds(conf.daemon_notify_timeout_seconds, DEFAULT_NOTIFY_TIMEOUT),
        pid_file,
        wanted: conf.daemon_wait_for_ready,
    };
    if !conf.daemon_wait_for_ready {
        let mut command = command;
        // The command may be gone; the daemon lives on.
        let _ = command.write_all(&[READY]);
    }
    Ok(notice)
}

/// What the command does after the fork. Returns its exit status.
#[allow(clippy::print_stderr)]
fn wait_for_daemon(mut pipe: PipeReader, conf: &ServerConf) -> i32 {
    let limit = match conf.daemon_wait_for_ready {
        true => seconds(conf.daemon_ready_timeout_seconds, DEFAULT_READY_TIMEOUT),
        false => SETUP_TIMEOUT,
    };
    if wait_until(pipe.as_raw_fd(), libc::POLLIN, limit).is_err() {
        eprintln!("the daemon is not ready after {} s", limit.as_secs());
        return 1;
    }
    let mut first = [READY];
    match pipe.read(&mut first) {
        Ok(1) if first == [READY] => return 0,
        Ok(1) => {}
        _ => {
            let log = conf
                .error_log
                .as_deref()
                .unwrap_or("set error_log to see why");
            eprintln!("the daemon ended before it was ready: {log}");
            return 1;
        }
    }
    let mut text = first.to_vec();
    let _ = pipe.take(MAX_ERROR_TEXT).read_to_end(&mut text);
    eprintln!("{}", String::from_utf8_lossy(&text));
    1
}

#[derive(PartialEq)]
enum Side {
    Parent,
    Child,
}

fn fork() -> Result<Side> {
    // SAFETY: the child goes on with the one thread that called this. Threads started before by
    // the program are missing there, and locks they hold stay held: callers start none, and
    // pause the one of the timer.
    match unsafe { libc::fork() } {
        -1 => failed("cannot fork"),
        0 => Ok(Side::Child),
        _ => Ok(Side::Parent),
    }
}

/// Writes the process id, and locks the file so that a second daemon with the same one fails.
fn write_pid_file(path: &str, upgrade: bool, owner: Option<(u32, u32)>) -> Result<File> {
    let mut file = open_pid_file(path)?;
    if upgrade && !lock(&file) {
        // The process before this one still has it. Its id stays known under another name.
        fs::rename(path, format!("{path}.old")).or_err_with(ErrorType::FileCreateError, || {
            format!("cannot rename {path}")
        })?;
        file = open_pid_file(path)?;
    }
    if !lock(&file) {
        let context = format!("pid_file: {path} belongs to a server that is running");
        return Error::e_explain(ErrorType::FileCreateError, context);
    }
    let write = file
        .set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()));
    write.or_err_with(ErrorType::FileWriteError, || format!("cannot write {path}"))?;
    give(&file, path, owner)?;
    Ok(file)
}

/// Locks a file for as long as it is open, unless another process has.
fn lock(file: &File) -> bool {
    // SAFETY: an open descriptor and constants.
    unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) == 0 }
}

fn open_pid_file(path: &str) -> Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o644)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
        .or_err_with(ErrorType::FileCreateError, || format!("cannot open {path}"))
}

fn open_error_log(path: &str, owner: Option<(u32, u32)>) -> Result<File> {
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .open(path)
        .or_err_with(ErrorType::FileCreateError, || format!("cannot open {path}"))?;
    give(&file, path, owner)?;
    Ok(file)
}

fn give(file: &File, path: &str, owner: Option<(u32, u32)>) -> Result<()> {
    let Some((uid, gid)) = owner else {
        return Ok(());
    };
    std::os::unix::fs::fchown(file, Some(uid), Some(gid))
        .or_err_with(ErrorType::FileCreateError, || {
            format!("cannot change the owner of {path}")
        })
}

fn change_directory(conf: &ServerConf) -> Result<()> {
    // By default none that somebody may want to unmount.
    let path = conf.working_directory.as_deref().unwrap_or(Path::new("/"));
    std::env::set_current_dir(path).or_err_with(ErrorType::InternalError, || {
        format!("cannot change to directory {}", path.display())
    })
}

/// Gives up the rights of the user that started the daemon, groups first: after the user is
/// changed, these cannot be.
fn switch_user(conf: &ServerConf, uid: u32, gid: u32) -> Result<()> {
    // SAFETY: these have no arguments and cannot fail.
    let own = unsafe { (libc::geteuid(), libc::getegid()) };
    if own == (uid, gid) {
        return Ok(());
    }
    let name = c_string(conf.user.as_deref().unwrap_or_default())?;
    // SAFETY: `name` is a string of C that lives through the calls; the rest are numbers.
    let done = unsafe {
        let groups = match conf.user {
            Some(_) => libc::initgroups(name.as_ptr(), gid as _),
            None => libc::setgroups(1, &gid),
        };
        groups == 0 && libc::setgid(gid) == 0 && libc::setuid(uid) == 0
    };
    match done {
        true => Ok(()),
        false => failed(format!("cannot switch to user {uid} and group {gid}")),
    }
}

/// Connects standard input and output to nothing, and standard error to the log.
fn redirect(errors: Option<File>) -> Result<()> {
    let null = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")
        .or_err(ErrorType::FileOpenError, "cannot open /dev/null")?;
    let errors = errors.as_ref().unwrap_or(&null);
    for (file, standard) in [(&null, 0), (&null, 1), (errors, 2)] {
        // SAFETY: two open descriptors; the second is replaced.
        if unsafe { libc::dup2(file.as_raw_fd(), standard) } == -1 {
            return failed("cannot redirect standard input and output");
        }
    }
    Ok(())
}

/// Waits until `fd` can be read or written without blocking.
fn wait_until(fd: RawFd, events: libc::c_short, limit: Duration) -> io::Result<()> {
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut poll = libc::pollfd {
            fd,
            events,
            revents: 0,
        };
        let millis = i32::try_from(left.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: one valid pollfd, and its number.
        match unsafe { libc::poll(&mut poll, 1, millis) } {
            0 if left.is_zero() => return Err(io::ErrorKind::TimedOut.into()),
            ready if ready > 0 => return Ok(()),
            -1 if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted => {
                return Err(io::Error::last_os_error());
            }
            _ => {}
        }
    }
}

/// Returns id and main group of the user called `name`.
fn find_user(name: &str) -> Result<(u32, u32)> {
    let c_name = c_string(name)?;
    // SAFETY: `c_name` lives through the call. The result is a table of the C library that the
    // next such call overwrites: no other thread runs yet, and it is copied before this ends.
    let found = unsafe {
        libc::getpwnam(c_name.as_ptr())
            .as_ref()
            .map(|p| (p.pw_uid, p.pw_gid))
    };
    found.ok_or_else(|| unknown(format!("user: there is no user {name:?}")))
}

/// Returns the id of the group called `name`.
fn find_group(name: &str) -> Result<u32> {
    let c_name = c_string(name)?;
    // SAFETY: as in `find_user`.
    let found = unsafe { libc::getgrnam(c_name.as_ptr()).as_ref().map(|g| g.gr_gid) };
    found.ok_or_else(|| unknown(format!("group: there is no group {name:?}")))
}

fn c_string(name: &str) -> Result<CString> {
    CString::new(name).or_err(ErrorType::InternalError, "user or group")
}

fn unknown(context: String) -> pingora_error::BError {
    Error::explain(ErrorType::InternalError, context)
}

fn failed<T>(context: impl Into<String>) -> Result<T> {
    let cause = io::Error::last_os_error();
    Error::e_because(ErrorType::InternalError, context.into(), cause)
}

fn seconds(configured: Option<std::num::NonZeroU64>, default: Duration) -> Duration {
    configured.map_or(default, |s| Duration::from_secs(s.get()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_numbers() {
        assert_eq!(owner(None, None).unwrap(), None);
        assert_eq!(owner(Some("root"), None).unwrap(), Some((0, 0)));
        for (user, group) in [(Some("no such user"), None), (None, Some("a\0b"))] {
            assert!(owner(user, group).is_err());
        }
    }

    #[test]
    fn pid_file_is_locked_and_renamed_for_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid").to_str().unwrap().to_string();
        let own = format!("{}\n", std::process::id());
        let first = write_pid_file(&path, false, None).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), own);
        assert!(write_pid_file(&path, false, None).is_err());
        let second = write_pid_file(&path, true, None).unwrap();
        assert_eq!(fs::read_to_string(format!("{path}.old")).unwrap(), own);
        drop((first, second));
        // Free again, and shorter than what was there.
        fs::write(&path, "something long that is there already").unwrap();
        write_pid_file(&path, true, None).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), own);
    }

    #[test]
    fn the_command_learns_what_happened() {
        let conf = ServerConf::default();
        for (sent, expected) in [(&[READY][..], 0), (b"no such user", 1), (b"", 1)] {
            let (reader, mut writer) = io::pipe().unwrap();
            writer.write_all(sent).unwrap();
            drop(writer);
            assert_eq!(wait_for_daemon(reader, &conf), expected, "{sent:?}");
        }
    }
}

//! A child that outlives the program that ran it, remembered in a file so that a later program can end it.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use super::wait;

/// A daemon that ignores SIGTERM for this long receives SIGKILL. A stopped QEMU ignores it.
const GRACE: Duration = Duration::from_millis(2500);

/// A SIGKILL that has no effect after this long never will (the kernel holds the daemon).
const DEATH: Duration = Duration::from_secs(5);

/// One running program, identified by its pid and start time: the pid alone may have been reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Daemon {
    pid: Pid,
    /// In clock ticks since the boot (proc(5), /proc/pid/stat field 22).
    began: u64,
}

impl Daemon {
    /// Runs `command` with its output appended to `log` and its identity written to `record`.
    ///
    /// # Errors
    /// The program cannot be run, or the files cannot be written.
    pub fn spawn(mut command: Command, log: &Path, record: &Path) -> Result<Self> {
        let output =
            fs::File::options().create(true).append(true).open(log).with_context(|| log.display().to_string())?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child = command.spawn().with_context(|| format!("running {command:?}"))?;
        let daemon = Self::of(i32::try_from(child.id())?)?;
        daemon.remember(record)?;
        Ok(daemon)
    }

    /// The program that has this pid.
    ///
    /// # Errors
    /// It does not exist.
    pub fn of(pid: i32) -> Result<Self> {
        let began = began(pid).with_context(|| format!("no running program has pid {pid}"))?;
        Ok(Self { pid: Pid::from_raw(pid).context("0 is no pid")?, began })
    }

    /// Writes its identity, for [`Daemon::recorded`].
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn remember(&self, record: &Path) -> Result<()> {
        let text = format!("{} {}\n", self.pid.as_raw_nonzero(), self.began);
        fs::write(record, text).with_context(|| record.display().to_string())
    }

    /// The program that was last written to `record`; it may have ended.
    ///
    /// # Errors
    /// The file cannot be read or is not a record. A missing file is not an error.
    pub fn recorded(record: &Path) -> Result<Option<Self>> {
        let text = match fs::read_to_string(record) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            read => read.with_context(|| record.display().to_string())?,
        };
        let (pid, began) = text.trim().split_once(' ').with_context(|| format!("{}: {text:?}", record.display()))?;
        Ok(Pid::from_raw(pid.parse()?).zip(began.parse().ok()).map(|(pid, began)| Self { pid, began }))
    }

    /// Its pid.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Whether it runs. A zombie does not.
    pub fn alive(&self) -> bool {
        began(self.pid()) == Some(self.began)
    }

    /// Sends a signal to this program only.
    ///
    /// # Errors
    /// It does not run, or must not be signaled by us.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        ensure!(self.alive(), "pid {} is no longer what it was", self.pid());
        kill_process(self.pid, signal).with_context(|| format!("signalling pid {}", self.pid()))
    }

    /// Ends it, first with SIGTERM. It is not an error if it has ended already.
    ///
    /// # Errors
    /// It survived SIGKILL.
    pub fn end(&self) -> Result<()> {
        for (signal, timeout) in [(Signal::TERM, GRACE), (Signal::KILL, DEATH)] {
            if self.alive() {
                match kill_process(self.pid, signal) {
                    Ok(()) | Err(Errno::SRCH) => {}
                    Err(error) => return Err(error).context("ending a daemon"),
                }
            }
            let gone = wait::until("an end", timeout, || Ok((self.reap() || !self.alive()).then_some(())));
            if gone.is_ok() {
                return Ok(());
            }
        }
        anyhow::bail!("pid {} survived SIGKILL", self.pid())
    }

    /// Takes its exit status if it is a child of ours; otherwise nothing happens.
    fn reap(&self) -> bool {
        matches!(waitpid(Some(self.pid), WaitOptions::NOHANG), Ok(Some(_)))
    }
}

/// Start time of the program with this pid; `None` if there is none or it is a zombie.
fn began(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // proc(5): the name, field 2, is in parentheses and may contain spaces; field 3 follows the last parenthesis.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    let began = fields.nth(18)?;
    if matches!(state, "Z" | "X") { None } else { began.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_is_ended_by_what_its_record_says() {
        let folder = tempfile::tempdir().unwrap();
        let record = folder.path().join("record");
        let mut command = Command::new("sleep");
        command.arg("1000");
        Daemon::spawn(command, &folder.path().join("log"), &record).unwrap();
        let daemon = Daemon::recorded(&record).unwrap().unwrap();
        assert!(daemon.alive());
        daemon.end().unwrap();
        assert!(!daemon.alive());
        daemon.end().unwrap();
    }

    #[test]
    fn a_pid_that_now_names_a_stranger_is_left_alone() {
        let own = Daemon::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        let stranger = Daemon { began: own.began + 1, ..own };
        assert!(!stranger.alive());
        stranger.signal(Signal::KILL).unwrap_err();
        stranger.end().unwrap();
    }
}

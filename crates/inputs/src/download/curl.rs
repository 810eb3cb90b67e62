//! Downloads by the `curl` of the machine, which knows its proxies and certificates.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::data::about::is_web_address;
use timbre_core::{cancel::Cancelled, error::UserError};

/// Attempts without any new byte before giving up.
const ATTEMPTS: u32 = 4;

/// Exit codes of curl: the server refused (here: the range), and it cannot resume.
const HTTP_ERROR: i32 = 22;
const NO_RANGES: i32 = 33;

fn curl() -> Command {
    let mut curl = Command::new("curl");
    // No other scheme, also where the server sends it elsewhere.
    curl.args(["--location", "--fail", "--proto", "=http,https", "--connect-timeout", "30"]);
    curl
}

fn start(command: &mut Command) -> Result<Child> {
    command.spawn().map_err(|error| {
        let what = "cannot start `curl`, which downloads the files";
        UserError::usage(format!("{what}: {error}. Install it, or download them by hand and pass --from DIR")).into()
    })
}

/// The size of the file as the server says it.
pub fn remote_size(url: &str) -> Option<u64> {
    if !is_web_address(url) {
        return None;
    }
    let response =
        curl().args(["--silent", "--head", "--max-time", "30", "--url", url]).stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&response.stdout).into_owned();
    // After redirections, the last answer is that of the file.
    let mut lengths = text.lines().filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    lengths.next_back().filter(|_| response.status.success())
}

/// Downloads into `part`, after the bytes that are there. Cut connections are taken up again as long as bytes arrive.
pub fn download(
    url: &str,
    part: &Path,
    bytes: Option<u64>,
    lock: &fs::File,
    shown: bool,
    stop: &AtomicBool,
) -> Result<()> {
    if !is_web_address(url) {
        bail!(UserError::usage(format!("{url:?} is no address: it has to start with https:// or http://")));
    }
    let length = || fs::metadata(part).map_or(0, |found| found.len());
    let mut left = ATTEMPTS;
    loop {
        let before = length();
        if bytes.is_some_and(|bytes| before == bytes) {
            return Ok(());
        }
        let mut command = curl();
        command.args(if shown { &["--progress-bar"][..] } else { &["--silent", "--show-error"] });
        command.args(["--speed-limit", "1", "--speed-time", "60", "--continue-at", "-", "--output"]).arg(part);
        command.args(["--url", url]);
        // curl never reads from it, but the lock lasts as long as curl does, should this process be killed.
        command.stdin(lock.try_clone().context("share the lock with curl")?).stdout(Stdio::null());
        command.stderr(if shown { Stdio::inherit() } else { Stdio::piped() });
        let mut child = start(&mut command)?;
        let (code, said) = wait(&mut child, stop)?;
        match code {
            Some(0) => return Ok(()),
            // The server knows no ranges, or the file is shorter by now: from the beginning.
            Some(NO_RANGES | HTTP_ERROR) if before > 0 => {
                fs::remove_file(part).with_context(|| format!("remove {}", part.display()))?;
            }
            _ if length() > before => left = ATTEMPTS,
            _ => left -= 1,
        }
        if left == 0 {
            let said = said.lines().last().unwrap_or("see above").trim_start_matches("curl: ").to_owned();
            bail!("download {url}: {said}; the same command continues it");
        }
        if left < ATTEMPTS {
            std::thread::sleep(Duration::from_millis(250 << (ATTEMPTS - left)));
        }
    }
}

/// The exit code of curl, and what it wrote. A signal stops it; the bytes that have come stay.
fn wait(child: &mut Child, stop: &AtomicBool) -> Result<(Option<i32>, String)> {
    let status = loop {
        if stop.load(Ordering::Relaxed) {
            let _ = child.kill();
            let _ = child.wait();
            bail!(Cancelled);
        }
        match child.try_wait().context("wait for curl")? {
            Some(status) => break status,
            None => std::thread::sleep(Duration::from_millis(30)),
        }
    };
    let mut said = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        let _ = stderr.read_to_string(&mut said);
    }
    Ok((status.code(), said))
}

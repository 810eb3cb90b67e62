//! Unpacks archives from untrusted sources.
//!
//! Only files and folders are written, below a new folder and with the usual permissions. A path that climbs or is absolute, a link, a device, a file that
//! is there twice, and an archive that swells beyond all measure end the work with an error.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, bail, ensure};
use flate2::read::MultiGzDecoder;

use super::check_stop;

/// More files than any published set has.
const MOST_ENTRIES: usize = 5_000_000;

/// An archive may become this many times as large. Recordings swell less than threefold, tables about tenfold.
const MOST_SWELLING: u64 = 100;

/// What a small archive may swell to all the same.
const SMALL: u64 = 64 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Zip,
    Tar,
    TarGz,
}

impl Format {
    /// The format that the ending of a name says; `None` for a file that is no archive.
    pub fn of(name: &str) -> Option<Format> {
        let name = name.to_lowercase();
        let ends = |ending: &str| name.ends_with(ending);
        match () {
            () if ends(".zip") => Some(Format::Zip),
            () if ends(".tar") => Some(Format::Tar),
            () if ends(".tar.gz") || ends(".tgz") => Some(Format::TarGz),
            () => None,
        }
    }
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unpacked {
    pub files: usize,
    pub bytes: u64,
}

/// Unpacks `archive` into the folder `into`. The content of the folder `top` goes into `into` itself.
pub fn unpack(archive: &Path, format: Format, into: &Path, top: Option<&str>, stop: &AtomicBool) -> Result<Unpacked> {
    let file = File::open(archive).with_context(|| format!("open {}", archive.display()))?;
    let packed = file.metadata()?.len();
    let most = SMALL.max(packed.saturating_mul(MOST_SWELLING));
    let mut writer = Writer { into, top: top.map(Path::new), most, entries: 0, done: Unpacked::default(), stop };
    let input = BufReader::with_capacity(1 << 18, file);
    match format {
        Format::Zip => unzip(input, &mut writer)?,
        Format::Tar => untar(input, &mut writer)?,
        Format::TarGz => {
            let mut content = MultiGzDecoder::new(input);
            untar(&mut content, &mut writer)?;
            // Behind the end of the tar archive is the checksum of the whole.
            let mut rest = Stoppable { input: content.take(most), stop };
            io::copy(&mut rest, &mut io::sink()).context("read the end of the archive")?;
        }
    }
    Ok(writer.done)
}

fn unzip(input: BufReader<File>, writer: &mut Writer) -> Result<()> {
    let listed = files_in_zip(input.get_ref()).context("read the end of the archive")?;
    let mut archive = zip::ZipArchive::new(input).context("read the list of files")?;
    // The reader keeps the last of several files with one name.
    if let Some(listed) = listed.filter(|&listed| listed != archive.len()) {
        bail!("the archive lists {listed} files, of which {} have names of their own", archive.len());
    }
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).with_context(|| format!("file {} of the archive", index + 1))?;
        // Many programs write UTF-8 without saying so, which would be read as code page 437.
        let name = match std::str::from_utf8(entry.name_raw()) {
            Ok(name) => name.to_owned(),
            Err(_) => entry.name()?.into_owned(),
        };
        // The two highest hexadecimal digits of a Unix mode are the kind of file; 0 says nothing.
        let kind = match entry.unix_mode().unwrap_or(0) & 0o170_000 {
            _ if entry.is_dir() => Kind::Folder,
            0 | 0o100_000 => Kind::File,
            _ => Kind::Other,
        };
        writer.take(Path::new(&name.replace('\\', "/")), kind, &mut entry)?;
    }
    Ok(())
}

/// The number of files that the end record of a zip archive declares; `None` if it is too large for the record, or not found.
fn files_in_zip(mut file: &File) -> io::Result<Option<usize>> {
    // The record has 22 bytes, and a comment of up to 65,535 after them.
    let from = file.metadata()?.len().saturating_sub(22 + 65_535);
    let mut end = Vec::new();
    file.seek(io::SeekFrom::Start(from))?;
    file.read_to_end(&mut end)?;
    file.rewind()?;
    let record = end.windows(22).rev().find(|bytes| bytes.starts_with(b"PK\x05\x06"));
    let count = record.map(|bytes| usize::from(u16::from_le_bytes([bytes[10], bytes[11]])));
    Ok(count.filter(|&count| count < usize::from(u16::MAX)))
}

fn untar(input: impl Read, writer: &mut Writer) -> Result<()> {
    let mut archive = tar::Archive::new(input);
    for entry in archive.entries()? {
        let mut entry = entry.context("read the next file")?;
        let path = entry.path().context("read the name of a file")?.into_owned();
        let kind = match entry.header().entry_type() {
            tar::EntryType::Directory => Kind::Folder,
            tar::EntryType::Regular | tar::EntryType::Continuous | tar::EntryType::GNUSparse => Kind::File,
            tar::EntryType::XGlobalHeader => continue,
            _ => Kind::Other,
        };
        writer.take(&path, kind, &mut entry)?;
    }
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    File,
    Folder,
    /// A link, a device, a pipe.
    Other,
}

struct Writer<'a> {
    into: &'a Path,
    top: Option<&'a Path>,
    /// The most bytes in all.
    most: u64,
    entries: usize,
    done: Unpacked,
    stop: &'a AtomicBool,
}

impl Writer<'_> {
    fn take(&mut self, name: &Path, kind: Kind, content: &mut dyn Read) -> Result<()> {
        check_stop(self.stop)?;
        self.entries += 1;
        ensure!(self.entries <= MOST_ENTRIES, "the archive has more than {MOST_ENTRIES} files");
        let Some(below) = safe_path(name, self.top)? else { return Ok(()) };
        let path = self.into.join(below);
        let folder = match kind {
            Kind::Folder => path.as_path(),
            Kind::File => path.parent().unwrap_or(self.into),
            Kind::Other => bail!("{} is a link or a device: it is not unpacked", name.display()),
        };
        fs::create_dir_all(folder).with_context(|| format!("create the folder {}", folder.display()))?;
        if kind == Kind::File {
            let mut out = File::create_new(&path).map_err(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => anyhow::anyhow!("the archive has two files {}", name.display()),
                _ => anyhow::Error::new(error).context(format!("create {}", path.display())),
            })?;
            // The sizes that an archive declares need not be true: the bytes are counted.
            let left = self.most - self.done.bytes;
            let mut content = Stoppable { input: content.take(left + 1), stop: self.stop };
            let written = io::copy(&mut content, &mut out);
            check_stop(self.stop)?;
            let written = written.with_context(|| format!("unpack {}", name.display()))?;
            ensure!(
                written <= left,
                "the archive swells to more than {} bytes, {MOST_SWELLING} times its size: it is no data set",
                self.most
            );
            self.done.files += 1;
            self.done.bytes += written;
        }
        Ok(())
    }
}

/// Ends a long copy after a signal.
struct Stoppable<'a, R> {
    input: R,
    stop: &'a AtomicBool,
}

impl<R: Read> Read for Stoppable<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        check_stop(self.stop).map_err(io::Error::other)?;
        self.input.read(buffer)
    }
}

/// The path below the folder, without `top`. `None` for what is not part of a set: the folder itself, and what macOS adds.
fn safe_path(name: &Path, top: Option<&Path>) -> Result<Option<PathBuf>> {
    let mut path = PathBuf::new();
    for part in name.components() {
        match part {
            Component::Normal(part) => path.push(part),
            Component::CurDir => {}
            _ => bail!("{} leads out of the archive", name.display()),
        }
    }
    let added = |part: &std::ffi::OsStr| {
        part == "__MACOSX" || part == ".DS_Store" || part.as_encoded_bytes().starts_with(b"._")
    };
    if path.iter().any(added) {
        return Ok(None);
    }
    let path = top.and_then(|top| path.strip_prefix(top).ok()).unwrap_or(&path);
    Ok((path.components().next().is_some()).then(|| path.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use zip::write::SimpleFileOptions;

    struct Made {
        dir: tempfile::TempDir,
    }

    impl Made {
        fn new() -> Made {
            Made { dir: tempfile::tempdir().unwrap() }
        }

        fn zip(&self, files: &[(&str, &[u8])]) -> PathBuf {
            let path = self.dir.path().join("a.zip");
            let mut zip = zip::ZipWriter::new(File::create(&path).unwrap());
            for (name, content) in files {
                zip.start_file(*name, SimpleFileOptions::default()).unwrap();
                zip.write_all(content).unwrap();
            }
            zip.finish().unwrap();
            path
        }

        /// The name is written into the header as it is: the crate refuses hostile ones.
        fn tar_gz(&self, entries: &[(&str, tar::EntryType, &str, &[u8])]) -> PathBuf {
            let path = self.dir.path().join("a.tar.gz");
            let mut tar = tar::Builder::new(GzEncoder::new(File::create(&path).unwrap(), Compression::fast()));
            for (name, kind, link, content) in entries {
                let mut header = tar::Header::new_gnu();
                header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
                header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(link.as_bytes());
                header.set_entry_type(*kind);
                header.set_size(content.len() as u64);
                header.set_mode(0o4777);
                header.set_cksum();
                tar.append(&header, *content).unwrap();
            }
            tar.into_inner().unwrap().finish().unwrap();
            path
        }

        fn unpack(&self, archive: &Path) -> Result<Unpacked> {
            let into = self.dir.path().join("inner/into");
            let _ = fs::remove_dir_all(&into);
            fs::create_dir_all(&into).unwrap();
            let format = Format::of(archive.to_str().unwrap()).unwrap();
            unpack(archive, format, &into, Some("set"), &AtomicBool::new(false))
        }

        fn read(&self, name: &str) -> Vec<u8> {
            fs::read(self.dir.path().join("inner/into").join(name)).unwrap()
        }

        /// Every path outside of the folder into which was unpacked.
        fn outside(&self) -> Vec<String> {
            let names = |folder: PathBuf| {
                let names = fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
                names.collect::<Vec<_>>()
            };
            let mut all = [names(self.dir.path().to_owned()), names(self.dir.path().join("inner"))].concat();
            all.sort();
            all
        }
    }

    use tar::EntryType::{Char, Directory, Link, Regular, Symlink};

    #[test]
    fn files_and_folders_are_unpacked_without_the_folder_at_the_top() {
        let made = Made::new();
        let content: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
        let files: [(&str, &[u8]); 5] = [
            ("set/audio/é 1.wav", &content),
            ("set/labels.csv", b"a,b\n"),
            ("other.txt", b"x"),
            ("__MACOSX/set/._labels.csv", b"junk"),
            ("set/.DS_Store", b"junk"),
        ];
        let expected = Unpacked { files: 3, bytes: 400_005 };
        assert_eq!(made.unpack(&made.zip(&files)).unwrap(), expected);
        assert_eq!((made.read("audio/é 1.wav"), made.read("labels.csv")), (content.clone(), b"a,b\n".to_vec()));
        let entries: Vec<_> = files.iter().map(|(name, content)| (*name, Regular, "", *content)).collect();
        let with_folder = [&[("set/", Directory, "", &b""[..])], &entries[..]].concat();
        assert_eq!(made.unpack(&made.tar_gz(&with_folder)).unwrap(), expected);
        assert_eq!(made.read("audio/é 1.wav"), content);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(made.dir.path().join("inner/into/labels.csv")).unwrap().permissions().mode();
            assert_eq!(mode & 0o7111, 0, "neither executable nor setuid");
        }
    }

    #[test]
    fn two_files_of_one_name_are_refused() {
        let made = Made::new();
        // The writer refuses it, so the second name is changed afterwards.
        let archive = made.zip(&[("a.txt", b"1"), ("b.txt", b"2")]);
        let mut bytes = fs::read(&archive).unwrap();
        let names: Vec<usize> = (0..bytes.len() - 5).filter(|&at| &bytes[at..at + 5] == b"b.txt").collect();
        assert_eq!(names.len(), 2);
        names.iter().for_each(|&at| bytes[at] = b'a');
        fs::write(&archive, bytes).unwrap();
        let error = made.unpack(&archive).unwrap_err().to_string();
        assert_eq!(error, "the archive lists 2 files, of which 1 have names of their own");
    }

    #[test]
    fn paths_that_climb_or_are_absolute_are_refused() {
        let made = Made::new();
        let before = ["a.tar.gz", "a.zip", "inner", "into"];
        for name in ["../x", "set/../../x", "/tmp/x-timbre-absolute", "..\\x", "set/a/../../../../x"] {
            let error = made.unpack(&made.zip(&[("ok", b"1"), (name, b"hostile")])).unwrap_err();
            assert!(format!("{error:#}").contains("leads out"), "{name}: {error:#}");
            if !name.contains('\\') {
                let entries = [("ok", Regular, "", &b"1"[..]), (name, Regular, "", &b"hostile"[..])];
                let error = made.unpack(&made.tar_gz(&entries)).unwrap_err();
                assert!(format!("{error:#}").contains("leads out"), "{name}: {error:#}");
            }
        }
        assert_eq!(made.outside(), before);
        assert!(!Path::new("/tmp/x-timbre-absolute").exists());
    }

    #[test]
    fn links_and_devices_are_refused_and_nothing_is_written_through_them() {
        let made = Made::new();
        for (kind, target) in [(Symlink, "../.."), (Symlink, "/etc/passwd"), (Link, "../../a.tar.gz"), (Char, "")] {
            let entries = [("set/door", kind, target, &b""[..]), ("set/door/x", Regular, "", &b"hostile"[..])];
            let error = made.unpack(&made.tar_gz(&entries)).unwrap_err();
            assert!(format!("{error:#}").contains("is a link or a device"), "{error:#}");
        }
        let path = made.dir.path().join("a.zip");
        let mut zip = zip::ZipWriter::new(File::create(&path).unwrap());
        zip.add_symlink("door", "../..", SimpleFileOptions::default()).unwrap();
        zip.start_file("door/x", SimpleFileOptions::default()).unwrap();
        zip.finish().unwrap();
        let error = made.unpack(&path).unwrap_err();
        assert!(format!("{error:#}").contains("is a link or a device"), "{error:#}");
        assert_eq!(made.outside(), ["a.tar.gz", "a.zip", "inner", "into"]);
    }

    #[test]
    fn an_archive_that_swells_beyond_measure_is_refused_before_it_fills_the_disk() {
        let made = Made::new();
        let zeros = vec![0u8; SMALL as usize / 2 + 1];
        let zip = made.zip(&[("a", &zeros), ("b", &zeros), ("c", &zeros)]);
        let tar = made.tar_gz(&[("a", Regular, "", &zeros[..]), ("b", Regular, "", &zeros[..])]);
        for archive in [zip, tar] {
            let error = made.unpack(&archive).unwrap_err();
            assert!(format!("{error:#}").contains("swells"), "{error:#}");
            let files = fs::read_dir(made.dir.path().join("inner/into")).unwrap();
            let written: u64 = files.map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
            assert!(written <= SMALL + 1, "{written}");
        }
    }

    #[test]
    fn a_file_that_is_there_twice_and_a_damaged_archive_are_errors() {
        let made = Made::new();
        let twice = [("a", Regular, "", &b"1"[..]), ("./a", Regular, "", &b"2"[..])];
        let error = made.unpack(&made.tar_gz(&twice)).unwrap_err();
        assert!(error.to_string().contains("two files"), "{error:#}");
        let mut state = 1u32;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .take(50_000)
        .collect();
        for path in [made.zip(&[("a", &noise)]), made.tar_gz(&[("a", Regular, "", &noise)])] {
            let mut bytes = fs::read(&path).unwrap();
            bytes[20_000] ^= 1;
            fs::write(&path, &bytes).unwrap();
            assert!(made.unpack(&path).is_err(), "a changed bit in {}", path.display());
            fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
            assert!(made.unpack(&path).is_err(), "half of {}", path.display());
        }
    }
}

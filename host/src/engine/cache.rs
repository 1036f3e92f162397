//! A cache of compiled components on the disk.
//!
//! wasmtime's own cache compresses its entries, and decompression takes two thirds of a warm start (12 of 18 ms
//! for this component). This cache stores the compiled code in a file that is mapped into memory unmodified.
//! Mapped code is trusted, so it must be ours: the folder belongs to this user and no one else can write to it,
//! the file name identifies component, engine and settings, and a checksum in a second file detects damage.

use std::fs::{self, DirBuilder, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, Read as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _};
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt as _};
use rustix::fs::OFlags;
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::folder::replace::{replace_privately, replaced_by};

/// How many components are retained: a few versions of ours, and some from other authors.
const MAX_COMPONENTS: usize = 16;

/// Loads a component from the cache in `folder`, or compiles it and adds it to the cache.
pub(crate) fn component(
    engine: &Engine,
    folder: Option<&Path>,
    bytes: &[u8],
) -> wasmtime::Result<Component> {
    // Without a folder of our own, every start compiles the component.
    let Some(entry) = folder.and_then(|folder| Entry::of(engine, folder, bytes).ok()) else {
        announce(false);
        return Component::new(engine, bytes);
    };
    if let Some(component) = entry.load(engine) {
        return Ok(component);
    }
    announce(true);
    let compiled = engine.precompile_component(bytes)?;
    if entry.store(&compiled).is_ok()
        && let Some(component) = entry.load(engine)
    {
        return Ok(component);
    }
    Component::new(engine, bytes)
}

static ANNOUNCE: OnceLock<fn(bool)> = OnceLock::new();

/// Call a function whenever this process begins to compile a component, which takes about a second of each processor. Its
/// argument says whether the code is cached, so that later processes need not compile it. The first function counts.
pub fn on_compilation(announce: fn(is_cached: bool)) {
    let _ = ANNOUNCE.set(announce);
}

fn announce(is_cached: bool) {
    if let Some(announce) = ANNOUNCE.get() {
        announce(is_cached);
    }
}

/// The files of one component in the cache.
struct Entry {
    folder: Dir,
    name: String,
}

impl Entry {
    fn of(engine: &Engine, folder: &Path, bytes: &[u8]) -> io::Result<Self> {
        let folder = own_folder(folder)?;
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        bytes.hash(&mut hasher);
        let name = format!("{:016x}-{}", hasher.finish(), env!("CARGO_PKG_VERSION"));
        Ok(Self { folder, name })
    }

    fn code_name(&self) -> String {
        format!("{}.cwasm", self.name)
    }

    fn checksum_name(&self) -> String {
        format!("{}.crc32", self.name)
    }

    fn load(&self, engine: &Engine) -> Option<Component> {
        let code = self.open(&self.code_name()).ok()?;
        let mut expected = String::new();
        self.open(&self.checksum_name()).ok()?.take(64).read_to_string(&mut expected).ok()?;
        if format!("{:08x}", checksum_of(&code).ok()?) != expected.trim() {
            return None;
        }
        // This names the file that is open, whatever its name in the folder means by now.
        let path = format!("/proc/self/fd/{}", code.as_raw_fd());
        #[expect(unsafe_code, reason = "wasmtime has no safe function that loads compiled code")]
        // SAFETY: this process, or an earlier one of the same user, wrote the file with the compiler of this
        // engine: the file that was checked belongs to this user and no one else can write to it, the name
        // identifies component and settings, and the checksum has just been verified. wasmtime itself checks its
        // version and the processor's features.
        let component = unsafe { Component::deserialize_file(engine, path) };
        component.ok()
    }

    /// Open a file of the cache, if it is a regular file of this user to which no one else can write.
    fn open(&self, name: &str) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32);
        let file = self.folder.open_with(name, &options)?.into_std();
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        check_own(&metadata)?;
        Ok(file)
    }

    /// Writes code and checksum, each completely or not at all.
    fn store(&self, compiled: &[u8]) -> io::Result<()> {
        replace_privately(&self.folder, &self.code_name(), compiled)?;
        let checksum = format!("{:08x}\n", crc32fast::hash(compiled));
        replace_privately(&self.folder, &self.checksum_name(), checksum.as_bytes())?;
        self.prune();
        Ok(())
    }

    /// Removes the oldest components, and what a process left that was killed while it stored one. A file that cannot
    /// be removed does no harm.
    fn prune(&self) {
        /// Another process may still be writing a file that is younger.
        const ABANDONED: Duration = Duration::from_secs(600);
        let mut stored = Vec::new();
        for entry in self.folder.entries().into_iter().flatten().flatten() {
            let Ok(name) = entry.file_name().into_string() else { continue };
            let Ok(modified) = entry.metadata().and_then(|metadata| metadata.modified()) else {
                continue;
            };
            let modified = modified.into_std();
            if replaced_by(&name).is_some() {
                if modified.elapsed().is_ok_and(|age| age > ABANDONED) {
                    let _ = self.folder.remove_file(&name);
                }
            } else if let Some(stem) = name.strip_suffix(".cwasm") {
                stored.push((modified, stem.to_owned()));
            }
        }
        stored.sort();
        for (_, stem) in stored.iter().rev().skip(MAX_COMPONENTS) {
            let _ = self.folder.remove_file(format!("{stem}.crc32"));
            let _ = self.folder.remove_file(format!("{stem}.cwasm"));
        }
    }
}

/// The folder, which is created if it is missing. An error if it belongs to another user or if others can write
/// to it. It is opened once, and what was opened is checked: a path may mean another folder a moment later.
fn own_folder(folder: &Path) -> io::Result<Dir> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let dir = Dir::open_ambient_dir(folder, ambient_authority())?;
    check_own(&dir.try_clone()?.into_std_file().metadata()?)?;
    Ok(dir)
}

/// Check that a file or folder belongs to this user, and that no one else can write to it.
fn check_own(metadata: &fs::Metadata) -> io::Result<()> {
    let user = rustix::process::geteuid().as_raw();
    if metadata.uid() != user || metadata.mode() & 0o022 != 0 {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    Ok(())
}

fn checksum_of(file: &File) -> io::Result<u32> {
    let mut hasher = crc32fast::Hasher::new();
    let mut chunk = vec![0; 1 << 18];
    let mut offset = 0;
    loop {
        match file.read_at(&mut chunk, offset)? {
            0 => return Ok(hasher.finalize()),
            read => {
                hasher.update(&chunk[..read]);
                offset += read as u64;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// The smallest component.
    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

    #[test]
    fn a_stored_component_is_loaded_and_a_damaged_one_is_compiled_again() {
        let folder = tempfile::tempdir().unwrap();
        let engine = Engine::default();
        let entry = Entry::of(&engine, folder.path(), EMPTY).unwrap();
        assert!(entry.load(&engine).is_none(), "the cache is empty");
        component(&engine, Some(folder.path()), EMPTY).unwrap();
        assert!(entry.load(&engine).is_some());

        let file = folder.path().join(entry.code_name());
        let mut code = fs::read(&file).unwrap();
        let middle = code.len() / 2;
        code[middle] ^= 1;
        fs::write(&file, code).unwrap();
        assert!(entry.load(&engine).is_none(), "damaged code is never run");
        component(&engine, Some(folder.path()), EMPTY).unwrap();
        assert!(entry.load(&engine).is_some(), "it was compiled again");
    }

    #[test]
    fn the_number_of_stored_components_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..MAX_COMPONENTS + 5 {
            fs::write(folder.path().join(format!("{number:02}.cwasm")), "").unwrap();
        }
        component(&Engine::default(), Some(folder.path()), EMPTY).unwrap();
        let left = fs::read_dir(folder.path()).unwrap().flatten();
        let left = left.filter(|entry| entry.path().extension().unwrap() == "cwasm").count();
        assert_eq!(left, MAX_COMPONENTS);
    }

    #[test]
    fn a_file_that_others_can_write_or_that_is_a_link_is_not_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let engine = Engine::default();
        component(&engine, Some(folder.path()), EMPTY).unwrap();
        let entry = Entry::of(&engine, folder.path(), EMPTY).unwrap();
        let code = folder.path().join(entry.code_name());
        assert_eq!(fs::metadata(&code).unwrap().mode() & 0o777, 0o600);
        fs::set_permissions(&code, fs::Permissions::from_mode(0o666)).unwrap();
        assert!(entry.load(&engine).is_none());
        component(&engine, Some(folder.path()), EMPTY).unwrap();
        assert!(entry.load(&engine).is_some(), "it was compiled again");

        let elsewhere = folder.path().join("elsewhere");
        fs::rename(&code, &elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &code).unwrap();
        assert!(entry.load(&engine).is_none());
    }

    #[test]
    fn what_a_killed_process_left_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let left = folder.path().join(".x.cwasm.model-foundry-new-7");
        let new = folder.path().join(".y.cwasm.model-foundry-new-8");
        fs::write(&new, "").unwrap();
        let old = File::create(&left).unwrap();
        old.set_modified(std::time::SystemTime::now() - Duration::from_secs(3_600)).unwrap();
        component(&Engine::default(), Some(folder.path()), EMPTY).unwrap();
        assert_eq!((left.exists(), new.exists()), (false, true));
    }

    #[test]
    fn a_folder_that_others_can_write_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(Entry::of(&Engine::default(), folder.path(), EMPTY).is_err());
        component(&Engine::default(), Some(folder.path()), EMPTY).unwrap();
    }
}

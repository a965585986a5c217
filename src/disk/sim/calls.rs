//! The calls of the simulated disk: each passes the gate and is then one step on the medium.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;

use super::content::Content;
use super::file::{SimFile, whole};
use super::image::CHUNK;
use super::medium::{DIR_ACCESS, Last, Node};
use super::names::Ino;
use super::state::{FIRST_TIME, Guard, LockGuard, State};
use super::{Call, Folder, SimDisk};
use crate::disk::anchor::About;
use crate::disk::{Access, Disk, EntryKind, File, FileId, FileLock, Metadata, OpenMode};

/// Free space of a disk without a capacity: 1 PiB.
const UNBOUNDED: u64 = 1 << 50;

/// A path below a folder that is kept open, as it is from the root now.
struct Place {
    path: PathBuf,
    /// What new things get there.
    access: Option<Access>,
}

impl SimDisk {
    /// Begins a call on the name at `path`.
    fn on_name(&self, call: Call, path: &Path) -> io::Result<(Guard<'_>, Place)> {
        self.enter(call, path, About::Name)
    }

    /// Begins a call on what is at `path`.
    fn on_thing(&self, call: Call, path: &Path) -> io::Result<(Guard<'_>, Place)> {
        self.enter(call, path, About::Thing)
    }

    fn enter(&self, call: Call, path: &Path, about: About) -> io::Result<(Guard<'_>, Place)> {
        let mut state = whole(self.shared.enter(call, &[path], None, 0)?)?;
        let place = self.place(&state, path, about)?;
        if call.writes() {
            let links = if about == About::Name { Last::Keep } else { Last::Follow };
            check_medium(&mut state, call, &place.path, links)?;
        }
        Ok((state, place))
    }

    fn place(&self, state: &State, path: &Path, about: About) -> io::Result<Place> {
        let Some((folder, rest)) = self.folders.find(path, about) else {
            return Ok(Place { path: path.to_path_buf(), access: None });
        };
        let now = state.medium.names.now().path(folder.ino).ok_or(Errno::NOENT)?;
        Ok(Place { path: now.join(rest), access: folder.access })
    }

    fn rename_to(&self, from: &Path, to: &Path, replace: bool) -> io::Result<()> {
        let mut state = whole(self.shared.enter(Call::Rename, &[from, to], None, 0)?)?;
        let from = self.place(&state, from, About::Name)?;
        let to = self.place(&state, to, About::Name)?;
        for path in [&from.path, &to.path] {
            check_medium(&mut state, Call::Rename, path, Last::Keep)?;
        }
        state.immovable.check_rename(&state.medium, &from.path, &to.path)?;
        state.medium.rename(&from.path, &to.path, replace)
    }

    fn create_file(&self, path: &Path, access: Option<Access>) -> io::Result<Arc<dyn File>> {
        let (mut state, place) = self.on_name(Call::Create, path)?;
        let mut content = Content::new(state.now);
        match (access, place.access) {
            (Some(access), _) => {
                content.access = Access { mode: access.mode & content.access.mode, ..access };
            }
            (None, Some(access)) => content.access = access.for_file(),
            (None, None) => {}
        }
        state.immovable.check_name(&state.medium, &place.path)?;
        let ino = state.medium.create(&place.path, Node::File(content))?;
        Ok(self.handle_of(state, ino, path, OpenMode::CreateNew))
    }

    fn make_dir(&self, path: &Path, access: Option<Access>) -> io::Result<()> {
        let (mut state, place) = self.on_name(Call::CreateDir, path)?;
        let access = match (access, place.access) {
            (Some(access), _) => Access { mode: access.mode & DIR_ACCESS.mode, ..access },
            (None, Some(access)) => access.for_folder(),
            (None, None) => DIR_ACCESS,
        };
        if state.medium.walk(&place.path, Last::Keep)?.ino.is_none() {
            state.immovable.check_name(&state.medium, &place.path)?;
        }
        let node = Node::Dir { modified: state.now, access };
        state.medium.create(&place.path, node).map(drop)
    }

    fn handle_of(
        &self,
        mut state: Guard<'_>,
        ino: Ino,
        path: &Path,
        mode: OpenMode,
    ) -> Arc<dyn File> {
        if let Ok(content) = state.medium.content(ino) {
            content.handles += 1;
        }
        Arc::new(SimFile {
            shared: self.shared.clone(),
            ino,
            writable: matches!(mode, OpenMode::Write | OpenMode::CreateNew),
            path: path.to_path_buf(),
        })
    }
}

/// Refuses a call that writes at `path`, where that is on a read-only medium.
fn check_medium(state: &mut State, call: Call, path: &Path, links: Last) -> io::Result<()> {
    match state.immovable.is_read_only(&state.medium, path, links) {
        true => Err(state.refuse(call, path.to_path_buf())),
        false => Ok(()),
    }
}

pub(super) fn id_of(ino: Ino) -> FileId {
    FileId { device: 1, inode: ino }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        if mode == OpenMode::CreateNew {
            return self.create_file(path, None);
        }
        let (mut state, place) = self.on_thing(Call::Open, path)?;
        if mode == OpenMode::Write {
            check_medium(&mut state, Call::Open, &place.path, Last::Follow)?;
        }
        let links = if mode == OpenMode::ReadNoLink { Last::NoLinks } else { Last::Follow };
        let ino = match state.medium.find(&place.path, links)? {
            (ino, Node::File(_)) => ino,
            _ => return Err(Errno::ISDIR.into()),
        };
        Ok(self.handle_of(state, ino, path, mode))
    }

    fn create(&self, path: &Path, access: Access) -> io::Result<Arc<dyn File>> {
        self.create_file(path, Some(access))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.make_dir(path, None)
    }

    fn create_dir_as(&self, path: &Path, access: Access) -> io::Result<()> {
        self.make_dir(path, Some(access))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let (mut state, place) = self.on_name(Call::Remove, path)?;
        state.immovable.check_name(&state.medium, &place.path)?;
        state.medium.remove_file(&place.path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let (mut state, place) = self.on_name(Call::Remove, path)?;
        state.immovable.check_name(&state.medium, &place.path)?;
        state.medium.remove_dir(&place.path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.rename_to(from, to, true)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.rename_to(from, to, false)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let (mut state, place) = self.on_thing(Call::SyncDir, path)?;
        let dir = state.medium.find_dir(&place.path)?;
        state.medium.names.sync_dir(dir);
        state.medium.forget_unnamed();
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let (state, place) = self.on_thing(Call::List, path)?;
        let dir = state.medium.find_dir(&place.path)?;
        Ok(state.medium.names.now().list(dir).map(|(name, _)| PathBuf::from(name)).collect())
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        let (state, place) = self.on_name(Call::Look, path)?;
        let link = Access { uid: 0, gid: 0, mode: 0o777 };
        let (ino, node) = state.medium.find(&place.path, Last::Keep)?;
        let (kind, len, modified, access) = match node {
            Node::File(content) => {
                (EntryKind::File, content.len(), content.modified, content.access)
            }
            Node::Dir { modified, access } => (EntryKind::Dir, 0, *modified, *access),
            Node::Symlink(_) => (EntryKind::Symlink, 0, FIRST_TIME, link),
        };
        let Access { uid, gid, mode } = access;
        Ok(Metadata { kind, len, modified, mode, uid, gid, id: id_of(ino) })
    }

    fn identity(&self, path: &Path) -> io::Result<FileId> {
        let (state, place) = self.on_thing(Call::Look, path)?;
        Ok(id_of(state.medium.find(&place.path, Last::Follow)?.0))
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        let state = whole(self.shared.enter(Call::Look, &[path], None, 0)?)?;
        let (ino, _) = state.medium.find(path, Last::Follow)?;
        state.medium.names.now().path(ino).ok_or_else(|| Errno::NOENT.into())
    }

    fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        let (state, place) = self.on_name(Call::Look, path)?;
        match state.medium.find(&place.path, Last::Keep)?.1 {
            Node::Symlink(target) => Ok(target.clone()),
            _ => Err(Errno::INVAL.into()),
        }
    }

    fn symlink(&self, target: &Path, path: &Path) -> io::Result<()> {
        let (mut state, place) = self.on_name(Call::Symlink, path)?;
        state.immovable.check_name(&state.medium, &place.path)?;
        state.medium.create(&place.path, Node::Symlink(target.to_path_buf())).map(drop)
    }

    fn set_attributes(&self, path: &Path, mode: u32, modified: i64) -> io::Result<()> {
        let (mut state, place) = self.on_thing(Call::Attributes, path)?;
        let (ino, _) = state.medium.find(&place.path, Last::Follow)?;
        match state.medium.node(ino)? {
            Node::File(content) => (content.access.mode, content.modified) = (mode, modified),
            Node::Dir { modified: time, access } => (access.mode, *time) = (mode, modified),
            Node::Symlink(_) => {}
        }
        Ok(())
    }

    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        let (mut state, place) = self.on_thing(Call::Attributes, path)?;
        let (ino, _) = state.medium.find(&place.path, Last::Follow)?;
        if let Some(access) = state.medium.access(ino)? {
            access.mode = mode;
        }
        Ok(())
    }

    fn set_owner(&self, path: &Path, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
        let (mut state, place) = self.on_name(Call::Attributes, path)?;
        let (ino, _) = state.medium.find(&place.path, Last::Keep)?;
        if let Some(access) = state.medium.access(ino)? {
            access.uid = uid.unwrap_or(access.uid);
            access.gid = gid.unwrap_or(access.gid);
        }
        Ok(())
    }

    fn lock(&self, path: &Path, note: &str) -> io::Result<Box<dyn FileLock>> {
        let (mut state, place) = self.on_name(Call::Lock, path)?;
        let now = state.now;
        let ino = match state.medium.walk(&place.path, Last::Follow)?.ino {
            Some(ino) => ino,
            None => {
                state.immovable.check_name(&state.medium, &place.path)?;
                let mut content = Content::new(now);
                content.access = place.access.map_or(content.access, Access::for_file);
                state.medium.create(&place.path, Node::File(content))?
            }
        };
        if state.is_locked(ino) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let content = state.medium.content(ino)?;
        content.modified = now;
        content.set_len(0)?;
        content.write(note.as_bytes(), 0)?;
        state.locked.insert(ino);
        Ok(Box::new(LockGuard { shared: self.shared.clone(), ino, is_shared: false }))
    }

    fn lock_shared(&self, path: &Path) -> io::Result<Box<dyn FileLock>> {
        let (mut state, place) = self.on_name(Call::LockShared, path)?;
        let (ino, _) = state.medium.find(&place.path, Last::Follow)?;
        if state.locked.contains(&ino) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        *state.shared.entry(ino).or_default() += 1;
        Ok(Box::new(LockGuard { shared: self.shared.clone(), ino, is_shared: true }))
    }

    fn is_writable(&self, path: &Path) -> io::Result<bool> {
        let (state, place) = self.on_thing(Call::Look, path)?;
        state.immovable.is_writable(&state.medium, &place.path)
    }

    fn free_space(&self, path: &Path) -> io::Result<u64> {
        let (state, place) = self.on_thing(Call::Look, path)?;
        state.medium.find(&place.path, Last::Follow)?;
        Ok(state.free_chunks().map_or(UNBOUNDED, |chunks| chunks * CHUNK))
    }

    fn handle(&self) -> Arc<dyn Disk> {
        SimDisk::over(self.shared.clone())
    }

    fn anchor(&self, dir: &Path, access: Option<Access>) -> io::Result<()> {
        let (state, place) = self.on_name(Call::Look, dir)?;
        let ino = state.medium.find_dir(&place.path)?;
        self.folders.add(dir, Folder { ino, access: access.or(place.access) });
        Ok(())
    }

    fn displaced(&self) -> Option<PathBuf> {
        let state = self.shared.state.lock();
        let leads_to = |path: &Path| state.medium.find_dir(path).ok();
        let all = self.folders.all().into_iter().rev();
        all.map(|(path, folder)| (leads_to(&path) == Some(folder.ino), path))
            .find_map(|(in_place, path)| (!in_place).then_some(path))
    }

    fn now(&self) -> i64 {
        let mut state = self.shared.state.lock();
        state.advance(Duration::from_micros(1));
        state.now
    }

    fn elapsed(&self) -> Duration {
        let mut state = self.shared.state.lock();
        state.advance(Duration::from_micros(1));
        state.elapsed
    }

    fn is_simulated(&self) -> bool {
        true
    }

    fn random(&self, buffer: &mut [u8]) {
        self.shared.state.lock().random.fill(buffer);
    }
}

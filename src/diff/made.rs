//! Made toplevels for tests: a store in a temporary directory.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::store_files::StoreFiles;
use crate::nix::Store;

/// A store that is nix's by its form only.
pub(crate) struct MadeStore {
    directory: tempfile::TempDir,
    count: AtomicU32,
}

impl MadeStore {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("nix/store")).unwrap();
        Self { directory, count: AtomicU32::new(0) }
    }

    pub(crate) fn store(&self) -> Store {
        Store { root: Some(self.directory.path().to_owned()) }
    }

    pub(crate) fn files(&self) -> StoreFiles {
        StoreFiles::new(self.store())
    }

    /// A new store path with these files in it.
    pub(crate) fn put(&self, name: &str, files: &[(&str, &str)]) -> String {
        let path = format!("/nix/store/{:032}-{name}", self.count.fetch_add(1, Ordering::Relaxed));
        for (file, text) in files {
            let file = self.physical(&path).join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        path
    }

    /// A new store path that is a file itself.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = format!("/nix/store/{:032}-{name}", self.count.fetch_add(1, Ordering::Relaxed));
        fs::write(self.physical(&path), text).unwrap();
        path
    }

    pub(crate) fn link(&self, path: &str, name: &str, target: &str) {
        let link = self.physical(path).join(name);
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        symlink(target, link).unwrap();
    }

    fn physical(&self, path: &str) -> PathBuf {
        self.store().physical(Path::new(path))
    }
}

/// A toplevel in the making, in NixOS's form.
pub(crate) struct MadeSystem<'a> {
    store: &'a MadeStore,
    etc: String,
    units: String,
    user_units: String,
    top: String,
    snippets: String,
}

impl<'a> MadeSystem<'a> {
    pub(crate) fn new(store: &'a MadeStore) -> Self {
        let etc = store.put("etc", &[("etc/hostname", "made\n")]);
        let units = store.put("system-units", &[("multi-user.target", "[Unit]\n"), ("sysinit.target", "[Unit]\n")]);
        let user_units = store.put("user-units", &[("default.target", "[Unit]\n")]);
        store.link(&units, "default.target", "multi-user.target");
        store.link(&etc, "etc/systemd/system", &units);
        store.link(&etc, "etc/systemd/user", &user_units);
        let top = store
            .put("nixos-system-made-26.11", &[("nixos-version", "26.11"), ("init-interface-version", "systemd 2")]);
        store.link(&top, "etc", &format!("{etc}/etc"));
        Self { store, etc, units, user_units, top, snippets: String::new() }
    }

    /// A file at the toplevel itself.
    pub(crate) fn file(self, name: &str, text: &str) -> Self {
        fs::write(self.store.physical(&self.top).join(name), text).unwrap();
        self
    }

    /// The program that switches to it.
    pub(crate) fn starter(self, text: &str) -> Self {
        fs::create_dir_all(self.store.physical(&self.top).join("bin")).unwrap();
        self.file("bin/switch-to-configuration", text)
    }

    /// A link at the toplevel itself.
    pub(crate) fn link(self, name: &str, target: &str) -> Self {
        self.store.link(&self.top, name, target);
        self
    }

    /// A link in /etc to a file of its own.
    pub(crate) fn etc(self, name: &str, text: &str) -> Self {
        let file = self.store.file(&format!("etc-{}", name.replace('/', "-")), text);
        self.store.link(&self.etc, &format!("etc/{name}"), &file);
        self
    }

    /// A link in /etc to something that is there.
    pub(crate) fn etc_link(self, name: &str, target: &str) -> Self {
        self.store.link(&self.etc, &format!("etc/{name}"), target);
        self
    }

    /// A file in /etc itself, such as `x.mode`.
    pub(crate) fn plain(self, name: &str, text: &str) -> Self {
        fs::write(self.store.physical(&self.etc).join("etc").join(name), text).unwrap();
        self
    }

    /// A unit that multi-user.target wants.
    pub(crate) fn unit(self, name: &str, text: &str) -> Self {
        self.store.link(&self.units, &format!("multi-user.target.wants/{name}"), &format!("../{name}"));
        self.unwanted(name, text)
    }

    /// A unit that nothing wants.
    pub(crate) fn unwanted(self, name: &str, text: &str) -> Self {
        let file = self.store.put(&format!("unit-{name}"), &[(name, text)]);
        self.store.link(&self.units, name, &format!("{file}/{name}"));
        self
    }

    /// A user unit that default.target wants.
    pub(crate) fn user_unit(self, name: &str, text: &str) -> Self {
        self.user_unit_of("default.target", name, text)
    }

    /// A user unit that some target wants.
    pub(crate) fn user_unit_of(self, target: &str, name: &str, text: &str) -> Self {
        let file = self.store.put(&format!("unit-{name}"), &[(name, text)]);
        self.store.link(&self.user_units, &format!("{target}.wants/{name}"), &format!("../{name}"));
        self.store.link(&self.user_units, name, &format!("{file}/{name}"));
        self
    }

    /// A link among the system's units: an alias, a mask, a drop-in.
    pub(crate) fn unit_link(self, name: &str, target: &str) -> Self {
        self.store.link(&self.units, name, target);
        self
    }

    /// A snippet of the activation script.
    pub(crate) fn snippet(mut self, name: &str, text: &str) -> Self {
        self.snippets.push_str(&format!("#### Activation script snippet {name}:\n_localstatus=0\n{text}\n\n"));
        self
    }

    /// Its path.
    pub(crate) fn path(self) -> PathBuf {
        let text = format!("#!/bin/sh\n{}# Make this configuration the current one.\n", self.snippets);
        fs::write(self.store.physical(&self.top).join("activate"), text).unwrap();
        PathBuf::from(self.top)
    }
}

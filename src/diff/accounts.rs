//! Users and groups that a configuration declares: NixOS's `users-groups.json` (`config/users-groups.nix`), userborn's
//! JSON (`services/system/userborn.nix`), or files in the forms of passwd(5), group(5) and shadow(5).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// How a user may prove who they are. A hash is compared, never shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Password {
    /// None is declared: one that was set on the machine stays.
    #[default]
    Undeclared,
    /// No password opens it.
    Locked,
    /// Anybody is let in.
    Empty,
    /// What is declared: the kind of declaration, and what it says.
    Set(String, String),
    /// In a file of the machine.
    File(String),
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) uid: Option<u64>,
    pub(crate) group: String,
    pub(crate) home: String,
    pub(crate) shell: String,
    pub(crate) password: Password,
    /// Whether the password is one for a new account only.
    pub(crate) is_initial: bool,
    /// All else that JSON declares, by its key; nothing for null. What is about passwords is left out.
    pub(crate) more: BTreeMap<String, Option<String>>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) gid: Option<u64>,
    pub(crate) members: BTreeSet<String>,
}

/// All of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Accounts {
    pub(crate) users: BTreeMap<String, User>,
    pub(crate) groups: BTreeMap<String, Group>,
    /// Whether passwd(1) and useradd(8) are undone by a switch; `None` where it is not said.
    pub(crate) mutable: Option<bool>,
}

impl Password {
    /// Whether it lets somebody in.
    pub(crate) fn opens(&self) -> bool {
        matches!(self, Self::Empty | Self::Set(..) | Self::File(_))
    }
}

impl User {
    /// Whether a shell awaits who logs in.
    pub(crate) fn has_shell(&self) -> bool {
        let program = self.shell.rsplit('/').next().unwrap_or_default();
        !matches!(program, "" | "nologin" | "false")
    }
}

impl Accounts {
    /// NixOS's JSON, or userborn's; `None` where it is neither.
    pub(crate) fn from_json(text: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(text).ok()?;
        let mut accounts = Self { mutable: value["mutableUsers"].as_bool(), ..Self::default() };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let written = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        for user in value["users"].as_array()? {
            let kinds = ["hashedPassword", "password", "initialHashedPassword", "initialPassword"];
            let declared = kinds.iter().find_map(|kind| user[*kind].as_str().map(|said| (*kind, said)));
            let password = match (declared, user["hashedPasswordFile"].as_str()) {
                (_, Some(file)) => Password::File(file.to_owned()),
                (Some((_, "")), None) => Password::Empty,
                (Some((_, said)), None) if said.starts_with(['!', '*']) => Password::Locked,
                (Some((kind, said)), None) => Password::Set(kind.to_owned(), said.to_owned()),
                (None, None) => Password::Undeclared,
            };
            let is_initial = declared.is_some_and(|(kind, _)| kind.starts_with("initial"));
            let more = user.as_object().into_iter().flatten().filter(|(key, _)| is_more(key));
            let made = User {
                uid: user["uid"].as_u64(),
                group: text(&user["group"]),
                home: text(&user["home"]),
                shell: text(&user["shell"]),
                is_initial: is_initial && !matches!(password, Password::File(_)),
                password,
                more: more.map(|(key, value)| (key.clone(), (!value.is_null()).then(|| written(value)))).collect(),
            };
            accounts.users.insert(text(&user["name"]), made);
        }
        for group in value["groups"].as_array()? {
            let members = group["members"].as_array().into_iter().flatten().map(text).collect();
            accounts.groups.insert(text(&group["name"]), Group { gid: group["gid"].as_u64(), members });
        }
        Some(accounts)
    }

    /// Files of an /etc.
    pub(crate) fn from_files(passwd: &str, group: Option<&str>, shadow: Option<&str>) -> Self {
        let mut accounts = Self::default();
        let fields = |line: &str| line.split(':').map(str::to_owned).collect::<Vec<_>>();
        for line in group.unwrap_or_default().lines() {
            let [name, _, gid, members] = &fields(line)[..] else { continue };
            let members = members.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
            accounts.groups.insert(name.clone(), Group { gid: gid.parse().ok(), members });
        }
        let hash = |line: &str| {
            let mut fields = line.split(':').map(str::to_owned);
            Some((fields.next()?, fields.next()?))
        };
        let hashes: BTreeMap<String, String> = shadow.unwrap_or_default().lines().filter_map(hash).collect();
        for line in passwd.lines() {
            let [name, _, uid, gid, _, home, shell] = &fields(line)[..] else { continue };
            let gid = gid.parse().ok();
            let group = accounts.groups.iter().find(|(_, group)| group.gid == gid).map(|(name, _)| name.clone());
            let password = match hashes.get(name).map(String::as_str) {
                None => Password::Undeclared,
                Some("") => Password::Empty,
                Some(hash) if hash.starts_with(['!', '*']) => Password::Locked,
                Some(hash) => Password::Set("hash".to_owned(), hash.to_owned()),
            };
            let group = group.unwrap_or_else(|| gid.map(|gid: u64| gid.to_string()).unwrap_or_default());
            let (home, shell) = (home.clone(), shell.clone());
            let user = User { uid: uid.parse().ok(), group, home, shell, password, ..User::default() };
            accounts.users.insert(name.clone(), user);
        }
        accounts
    }

    /// The groups of a user beside their own.
    pub(crate) fn groups_of(&self, user: &str) -> BTreeSet<String> {
        let of = self.groups.iter().filter(|(_, group)| group.members.contains(user));
        of.map(|(name, _)| name.clone()).collect()
    }

    /// All groups of a user.
    pub(crate) fn all_groups_of(&self, user: &str) -> BTreeSet<String> {
        let own = self.users.get(user).map(|user| user.group.clone());
        self.groups_of(user).into_iter().chain(own).collect()
    }
}

/// Whether a key of a user's JSON is none of those that are read by their names.
fn is_more(key: &str) -> bool {
    !["name", "uid", "group", "home", "shell"].contains(&key) && !key.to_lowercase().contains("password")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_say_the_same() {
        let json = r#"{"mutableUsers":true,"users":[
            {"name":"alice","uid":1000,"group":"users","home":"/home/alice","shell":"/run/current-system/sw/bin/bash","hashedPassword":"$y$x","homeMode":"700","createHome":true,"expires":null},
            {"name":"nobody","uid":null,"group":"nogroup","home":"/var/empty","shell":"/run/current-system/sw/bin/nologin","hashedPassword":"!"},
            {"name":"f","group":"users","home":"/","shell":"/bin/sh","hashedPasswordFile":"/run/secret"},
            {"name":"e","group":"users","home":"/","shell":"/bin/sh","initialHashedPassword":""}],
            "groups":[{"name":"wheel","gid":1,"members":["alice"]},{"name":"users","gid":100,"members":[]}]}"#;
        let accounts = Accounts::from_json(json).unwrap();
        assert_eq!(accounts.mutable, Some(true));
        let alice = &accounts.users["alice"];
        assert!(alice.has_shell() && alice.password.opens());
        assert_eq!(accounts.groups_of("alice"), BTreeSet::from(["wheel".to_owned()]));
        assert_eq!(accounts.all_groups_of("alice"), BTreeSet::from(["users".to_owned(), "wheel".to_owned()]));
        let more: Vec<_> = alice.more.iter().map(|(key, value)| (key.as_str(), value.as_deref())).collect();
        assert_eq!(more, [("createHome", Some("true")), ("expires", None), ("homeMode", Some("700"))]);
        assert!(!accounts.users["nobody"].has_shell() && accounts.users["nobody"].password == Password::Locked);
        assert_eq!(accounts.users["f"].password, Password::File("/run/secret".to_owned()));
        assert_eq!(accounts.users["e"].password, Password::Empty);
        assert!(accounts.users["e"].is_initial && !alice.is_initial && !accounts.users["f"].is_initial);
        let files = Accounts::from_files(
            "alice:x:1000:100:A:/home/alice:/run/current-system/sw/bin/bash\nbroken\nb:x:1:9::/:/sbin/nologin\n",
            Some("wheel:x:1:alice\nusers:x:100:\n"),
            Some("alice:$y$x:1::::::\nb:!:1\n"),
        );
        assert_eq!(files.users["alice"].group, "users");
        assert_eq!((files.users["alice"].uid, files.users["b"].group.as_str()), (Some(1000), "9"));
        assert_eq!(files.users["b"].password, Password::Locked);
        assert_eq!(files.groups, accounts.groups);
        assert_eq!(Accounts::from_json("{}"), None);
        assert_eq!(Accounts::from_json("x"), None);
    }
}

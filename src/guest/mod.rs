//! What is asked of a guest, and what it answered.

pub mod bus;
pub mod credentials;
mod error;
pub mod facts;
mod frames;
mod greeting;
pub mod notify;
pub mod shell;
mod text;

pub use error::Error;

#[derive(Default, Clone)]
pub struct Wanted {
    pub units: Vec<String>,
    pub http: std::collections::BTreeMap<String, ()>,
    pub scripts: std::collections::BTreeMap<String, ()>,
    pub timers: Vec<String>,
}
pub struct Guest {
    shell: shell::Shell,
}
impl Guest {
    pub fn new(channel: std::sync::Arc<dyn crate::channel::Channel>, token: credentials::Token) -> Self {
        Self { shell: shell::Shell::new(channel, token) }
    }
    pub async fn booted(&self) {
        std::future::pending().await
    }
    pub async fn look(&self, _w: &Wanted) -> Result<facts::Facts, Error> {
        let o = self.shell.ask("uname -a; systemctl --failed", std::time::Duration::from_secs(10), 1 << 20).await?;
        let mut f = facts::Facts::default();
        f.manager.version = String::from_utf8_lossy(&o.stdout).into_owned();
        Ok(f)
    }
    pub async fn journal_text(&self, limit: usize) -> Result<Vec<u8>, Error> {
        Ok(self.shell.ask("journalctl -b --no-pager", std::time::Duration::from_secs(30), limit).await?.stdout)
    }
    pub fn serve_shell(&self, _: &std::path::Path) -> std::io::Result<()> {
        Ok(())
    }
    pub fn systemd(&self) -> Option<String> {
        None
    }
}

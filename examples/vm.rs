use base64::Engine;
use nixbox::channel::*;
use nixbox::guest::credentials::*;
use nixbox::guest::notify;
use nixbox::guest::shell::*;
use nixbox::names;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[tokio::main]
async fn main() {
    let args: Vec<String> = std::env::args().collect();
    let runner = &args[1];
    let virtio = args[2] == "virtio";
    let dir = tempfile::Builder::new().prefix("nb").tempdir_in("/tmp").unwrap();
    let run = dir.path();
    let p = |n: &str| run.join(n).display().to_string();
    let token = Token::random().unwrap();
    let t0 = Instant::now();
    let transport = if virtio { Transport::VirtioSerial } else { Transport::VhostUser };
    let mut qemu: Vec<String> = vec![];
    let mut daemon = None;
    let vs = Arc::new(VirtioSerial::new(run));
    let channel: Arc<dyn Channel> = if virtio { vs.clone() } else { Arc::new(VhostUser::new(run).unwrap()) };
    let (mut rx, _task) = notify::listen(channel.clone());
    if virtio {
        qemu.extend(["-device".into(), "virtio-serial-pci,max_ports=16".into()]);
        for (port, n) in names::VIRTIO_PORTS {
            for i in 0..n {
                qemu.extend([
                    "-chardev".into(),
                    format!("socket,id=vp{port}{i},path={},server=on,wait=off", p(&format!("vp.{port}.{i}"))),
                    "-device".into(),
                    format!("virtserialport,chardev=vp{port}{i},name=nixbox.{port}.{i}"),
                ]);
            }
        }
    } else {
        daemon = Some(
            tokio::process::Command::new("vhost-device-vsock")
                .args(["--vm", &format!("guest-cid=3,socket={},uds-path={},tx-buffer-size=32768", p("vh"), p("vs"))])
                .kill_on_drop(true)
                .spawn()
                .unwrap(),
        );
        while !run.join("vh").exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        qemu.extend(
            ["-machine", "memory-backend=mem", "-object", "memory-backend-memfd,id=mem,size=1024M,share=on"]
                .map(String::from),
        );
        qemu.extend([
            "-chardev".into(),
            format!("socket,id=vs,path={}", p("vh")),
            "-device".into(),
            "vhost-user-vsock-pci,chardev=vs".into(),
        ]);
    }
    qemu.extend(
        ["-machine", "accel=tcg", "-cpu", "max,-la57", "-smp", "2", "-m", "1024", "-display", "none", "-serial"]
            .map(String::from),
    );
    qemu.push(format!("file:{}", p("console")));
    for c in credentials(transport, &token) {
        qemu.push("-smbios".into());
        qemu.push(
            format!(
                "type=11,value={}{}={}",
                names::credential::SMBIOS_PREFIX,
                c.name,
                base64::engine::general_purpose::STANDARD.encode(&c.value)
            )
            .replace(',', ",,")
            .replacen(",,", ",", 1),
        );
    }
    let mut child = tokio::process::Command::new(runner)
        .args(&qemu)
        .env("NIX_DISK_IMAGE", p("disk.qcow2"))
        .env("TMPDIR", run)
        .env("USE_TMPDIR", "1")
        .env("SHARED_DIR", run)
        .env("QEMU_KERNEL_PARAMS", "console=ttyS0")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    if virtio {
        while vs.connect().await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    let shell = Shell::new(channel.clone(), token.clone());
    tokio::spawn(async move {
        while let Some(n) = rx.recv().await {
            println!("{:?} {n:?}", t0.elapsed());
        }
    });
    if let Err(e) = shell.warm(1, Duration::from_secs(60)).await {
        println!("{e}");
        println!("{}", std::fs::read_to_string(p("console")).unwrap_or_default());
        return;
    }
    println!("{:?} shell answers", t0.elapsed());
    let say = |o: Output| {
        format!(
            "{} {:?} {:?} cut {} {}",
            o.exit,
            String::from_utf8_lossy(&o.stdout),
            String::from_utf8_lossy(&o.stderr),
            o.cut,
            o.timed_out
        )
    };
    let limit = 1 << 20;
    let s30 = Duration::from_secs(30);
    println!("{}", say(shell.ask("cat /proc/uptime; systemctl is-system-running", s30, limit).await.unwrap()));
    let r = shell.ask("systemctl is-system-running --wait", Duration::from_secs(90), limit).await;
    println!("{:?} {:?}", t0.elapsed(), r.map(say));
    println!("load {}", std::fs::read_to_string("/proc/loadavg").unwrap());
    if std::env::var_os("BUS").is_none() {
        for text in ["true", "echo x; echo y >&2", "cat /etc/passwd"] {
            let b = Instant::now();
            let mut all = vec![];
            for _ in 0..20 {
                let b = Instant::now();
                shell.ask(text, s30, limit).await.unwrap();
                all.push(b.elapsed());
            }
            all.sort();
            println!("ask {text:?}: median {:?} worst {:?} total {:?}", all[10], all[19], b.elapsed());
        }
        for user in [None, Some("nobody")] {
            let mut all = vec![];
            for _ in 0..10 {
                let b = Instant::now();
                let mut s = Script::new("id; env; pwd");
                s.user = user.map(str::to_owned);
                let o = shell.run(s).await.unwrap();
                all.push(b.elapsed());
                if all.len() == 1 {
                    println!("{}", say(o));
                }
            }
            all.sort();
            println!("run as {user:?}: median {:?} worst {:?}", all[5], all[9]);
        }
        let mut s = Script::new("cat");
        s.stdin = (0..3_000_000_u32).map(|n| (n.wrapping_mul(n) >> 3) as u8).collect();
        s.limit = 4 << 20;
        let b = Instant::now();
        let o = shell.run(s.clone()).await.unwrap();
        println!("3 MB there and back: same {} {:?}", o.stdout == s.stdin, b.elapsed());
        let mut s = Script::new("echo $$; sleep 1000 & yes >&2");
        s.deadline = Duration::from_secs(2);
        s.limit = 10;
        let b = Instant::now();
        println!("hung: {} {:?}", say(shell.run(s).await.unwrap()), b.elapsed());
        let b = Instant::now();
        println!("ask hung: {:?} {:?}", shell.ask("sleep 1000", Duration::from_secs(1), 9).await, b.elapsed());
        let b = Instant::now();
        println!(
            "after: {} {:?}",
            say(shell.ask("echo ok; ls -d /run/nixbox*; pgrep -a sleep", s30, limit).await.unwrap()),
            b.elapsed()
        );
        let b = Instant::now();
        println!("killed: {:?} {:?}", shell.ask("kill -9 $$", Duration::from_secs(2), 9).await, b.elapsed());
        for _ in 0..3 {
            let _ = tokio::time::timeout(
                Duration::from_millis(100),
                shell.run(Script::new("echo stale; sleep 1; echo stale")),
            )
            .await;
            let b = Instant::now();
            println!("after cancel: {} {:?}", say(shell.ask("echo mine", s30, limit).await.unwrap()), b.elapsed());
        }
        let b = Instant::now();
        let all = futures_util::future::join_all((0..12).map(|n| shell.run(Script::new(format!("echo {n}"))))).await;
        println!("12 at once: {} {:?}", all.iter().filter(|r| r.is_ok()).count(), b.elapsed());
        println!("{}", say(shell.ask("systemctl --failed --no-legend; systemctl list-units --all --no-legend 'nixbox*'; journalctl -b -q --no-pager | grep -ci nixbox; ls -la /run/credentials/@system; cat /run/credentials/@system/nixbox.sh | wc -c", s30, limit).await.unwrap()).replace("\\n", "\n"));
    }
    nixbox_extra(channel, token, t0).await;
    let _ = shell.ask("systemctl poweroff", s30, limit).await;
    let b = Instant::now();
    println!(
        "poweroff {:?} {:?}",
        tokio::time::timeout(Duration::from_secs(40), child.wait()).await.map(|r| r.map(|s| s.code())),
        b.elapsed()
    );
    drop(daemon);
}
async fn nixbox_extra(c: Arc<dyn Channel>, t: Token, _t0: Instant) {
    use nixbox::guest::bus::*;
    use nixbox::guest::*;
    let g = Guest::new(c.clone(), t.clone());
    let b = Instant::now();
    println!("warm {:?} {:?}", g.warm(Duration::from_secs(30)).await, b.elapsed());
    let mut w = Wanted::default();
    for u in ["nowhere.service", "multi-user.target", "dbus.service", "graphical.target"] {
        w.units.insert(u.to_string());
    }
    let l = Limits::default();
    for i in 0..3 {
        println!("load {}", std::fs::read_to_string("/proc/loadavg").unwrap().trim());
        let b = Instant::now();
        let f = g.look(&w, &l).await;
        println!("look {:?} gaps {:?}", b.elapsed(), f.gaps);
        if i == 0 {
            std::fs::write("/tmp/guest-facts.json", serde_json::to_string_pretty(&f).unwrap()).unwrap();
        }
    }
    let m = g.manager(l.patience).await.unwrap();
    let b = Instant::now();
    let u = m.units(&w.units).await.unwrap();
    println!("units: {} {:?}", u.len(), b.elapsed());
    let b = Instant::now();
    let x = m.list_units().await.unwrap();
    println!("list {} {:?}", x.len(), b.elapsed());
    let b = Instant::now();
    println!("manager {:?} {:?}", m.manager().await.unwrap(), b.elapsed());
    let b = Instant::now();
    let j = g.journal_text(8 << 20, l.patience).await.unwrap();
    println!("journal text {} {:?}", j.len(), b.elapsed());
    let mut w2 = w.clone();
    w2.system_bus = true;
    w2.timers = vec!["systemd-tmpfiles-clean.timer".into(), "none.timer".into()];
    w2.timer_deadline = Duration::from_secs(30);
    w2.resolve = Some("localhost".into());
    w2.http.insert("none".into(), Attempts::once(Request::new("http://127.0.0.1:81/")));
    let mut s = Script::new("echo hello; exit 3");
    s.user = Some("nobody".into());
    w2.scripts.insert(
        "s".into(),
        Attempts { what: s, retries: 2, pause: Duration::from_millis(10), good: Some(Arc::new(|_| false)) },
    );
    let b = Instant::now();
    let f = g.look(&w2, &l).await;
    println!("look2 {:?} gaps {:?} {:?} {:?} {:?} {:?}", b.elapsed(), f.gaps, f.http, f.scripts, f.timers, f.network);
    println!("jobs {:?}", g.jobs(l.patience).await);
    println!("booted {:?}", g.wait_booted(l.patience).await);
    let sys = Bus::connect(&*c, &t, Which::System, Duration::from_secs(20)).await;
    println!("system bus {:?}", sys.as_ref().err());
    if let Ok(sys) = sys {
        println!("{:?} {}", sys.ping().await, sys.list_units().await.unwrap().len());
    }
    drop(g);
    drop(m);
    let b = Instant::now();
    let bus = Bus::connect(&*c, &t, Which::Manager, Duration::from_secs(20)).await;
    println!("manager bus again {:?}", b.elapsed());
    println!("{:?}", bus.unwrap().ping().await);
}

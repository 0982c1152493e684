//! Secrets, the files that hold them, and who may read those.

use super::*;
use crate::limits::CONFIG_BYTES;

#[test]
fn an_empty_secret_and_one_with_nul_are_refused() {
    let secret = |value: &str| errors(SSH.replace(SECRET, value));
    assert_eq!(
        secret(" \t"),
        ["2: secret: the secret is empty; `shimmer keygen` makes one"]
    );
    assert_eq!(
        secret("S3cret\0"),
        ["2: secret: the secret has a NUL byte; any other byte is fine"]
    );
}

#[test]
fn a_secret_file_is_read_beside_the_configuration() {
    let scratch = Scratch::new("secret-file");
    scratch.write("ssh.secret", "a secret # with = signs \r\nand a note\0");
    let text = SSH.replace(
        "secret = S3cret-T0ken.of-32-b1ts",
        "secret-file = ssh.secret # here",
    );
    let path = scratch.write("shimmer.conf", &text);
    let config = ServerConfig::load(&path).ok().unwrap();
    assert!(secret(&config.mirages[0]).as_bytes() == b"a secret # with = signs ");
    assert!(config.warnings.is_empty());

    let absolute = scratch.0.join("ssh.secret");
    let text = text.replace("ssh.secret", &absolute.display().to_string());
    let config = ClientConfig::parse(Path::new("elsewhere.conf"), text.as_bytes())
        .ok()
        .unwrap();
    assert!(config.mirages[0].secret.as_ref().unwrap().as_bytes() == b"a secret # with = signs ");
}

#[test]
fn an_unusable_secret_file_is_told_at_its_key() {
    let scratch = Scratch::new("unusable");
    scratch.write("empty", "\nsecond line\n");
    scratch.write("nul", "a\0b");
    scratch.write("long", vec![b'x'; CONFIG_BYTES as usize + 1]);
    let error = |file: &str| {
        let text = SSH.replace(
            "secret = S3cret-T0ken.of-32-b1ts",
            &format!("secret-file = {file}"),
        );
        let path = scratch.0.join("shimmer.conf");
        let error = ServerConfig::parse(&path, text.as_bytes())
            .err()
            .unwrap()
            .to_string();
        let start = format!(
            "{}:2: secret-file: {}: ",
            path.display(),
            scratch.0.join(file).display()
        );
        error.strip_prefix(&start).unwrap_or(&error).to_owned()
    };
    assert_eq!(
        error("empty"),
        "the secret is empty; `shimmer keygen` makes one"
    );
    assert_eq!(
        error("nul"),
        "the secret has a NUL byte; any other byte is fine"
    );
    assert_eq!(error("long"), "longer than 1048576 bytes");
    let missing = fs::File::open(scratch.0.join("missing")).unwrap_err();
    assert_eq!(error("missing"), missing.to_string());
}

#[test]
fn a_tilde_is_the_home_directory() {
    let Some(home) = std::env::var_os("HOME").filter(|home| !home.is_empty()) else {
        return;
    };
    let text = SSH.replace(
        "secret = S3cret-T0ken.of-32-b1ts",
        "secret-file = ~/no-such-file",
    );
    let path = Path::new(&home).join("no-such-file");
    let start = format!("2: secret-file: {}: ", path.display());
    let errors = errors(text);
    assert!(errors[0].starts_with(&start), "{}", errors[0]);
}

#[test]
fn a_file_that_cannot_be_read_is_told_by_its_path_and_the_systems_reason() {
    let scratch = Scratch::new("unreadable");
    let path = scratch.0.join("missing.conf");
    let reason = fs::File::open(&path).unwrap_err();
    let expected = format!("{}: {reason}", path.display());
    assert_eq!(
        ServerConfig::load(&path).err().unwrap().to_string(),
        expected
    );
    assert_eq!(
        ClientConfig::load(&path).err().unwrap().to_string(),
        expected
    );

    let path = scratch.write("long.conf", vec![b'\n'; CONFIG_BYTES as usize + 1]);
    let expected = format!("{}: longer than 1048576 bytes", path.display());
    assert_eq!(
        ServerConfig::load(&path).err().unwrap().to_string(),
        expected
    );
    let path = scratch.write("full.conf", {
        let mut text = SSH.to_owned();
        text.extend(std::iter::repeat_n('\n', CONFIG_BYTES as usize - SSH.len()));
        text
    });
    assert!(ServerConfig::load(&path).is_ok());
}

#[test]
fn a_weak_secret_is_a_warning() {
    let weak = "t.conf:2: secret: the secret looks weak; `shimmer keygen` makes a strong one";
    let text = SSH.replace(SECRET, "password");
    let warnings = |warnings: &[Diagnostic]| {
        let texts = warnings.iter().map(Diagnostic::to_string);
        texts.collect::<Vec<_>>()
    };
    assert_eq!(warnings(&server(&text).warnings), [weak]);
    assert_eq!(warnings(&client(&text).warnings), [weak]);
    assert!(server(SSH).warnings.is_empty());
}

#[cfg(unix)]
#[test]
fn files_with_secrets_that_others_may_read_are_a_warning() {
    let scratch = Scratch::new("modes");
    let warnings = |path: &Path| {
        let warnings = ServerConfig::load(path).ok().unwrap().warnings;
        warnings
            .iter()
            .map(Diagnostic::to_string)
            .collect::<Vec<_>>()
    };
    let config = scratch.write("shimmer.conf", format!("{SSH}{WEB}"));
    assert!(warnings(&config).is_empty());
    // The daemon's own group may.
    set_mode(&config, 0o640);
    assert!(warnings(&config).is_empty());
    set_mode(&config, 0o644);
    let name = config.display();
    assert_eq!(
        warnings(&config),
        [format!(
            "{name}:2: secret: other users can read {name}, which holds a secret; run chmod 600 {name}"
        )]
    );

    let file = scratch.write("file", SECRET);
    let text = SSH.replace("secret = S3cret-T0ken.of-32-b1ts", "secret-file = file");
    let config = scratch.write("other.conf", text);
    set_mode(&config, 0o644);
    assert!(warnings(&config).is_empty(), "it holds no secret itself");
    set_mode(&file, 0o604);
    let (name, file) = (config.display(), file.display());
    assert_eq!(
        warnings(&config),
        [format!(
            "{name}:2: secret-file: other users can read {file}, which holds a secret; run chmod 600 {file}"
        )]
    );
}

#[cfg(unix)]
#[test]
fn what_others_may_write_is_not_served_by_root() {
    let scratch = Scratch::new("writable");
    scratch.write("file", SECRET);
    let text = SSH.replace("secret = S3cret-T0ken.of-32-b1ts", "secret-file = file");
    let config = scratch.write("shimmer.conf", &text);
    let refused = || {
        let served = ServerConfig::load_to_serve(&config);
        served.err().map(|errors| errors.to_string())
    };
    for (name, place) in [("file", "2: secret-file"), ("shimmer.conf", "1")] {
        let path = scratch.0.join(name);
        set_mode(&path, 0o602);
        let told = format!(
            "{}:{place}: others may write to {1}, so root does not use it; run chmod go-w {1}",
            config.display(),
            path.display()
        );
        let told = access::is_root().then_some(told);
        assert_eq!(refused(), told);
        // Who only asks about it is told as well.
        let warnings = ServerConfig::load(&config).ok().unwrap().warnings;
        let warnings: Vec<String> = warnings.iter().map(Diagnostic::to_string).collect();
        assert!(
            told.is_none_or(|told| warnings.contains(&told)),
            "{warnings:?}"
        );
        assert!(ClientConfig::load(&config).is_ok());
        set_mode(&path, 0o600);
        assert_eq!(refused(), None);
    }
}

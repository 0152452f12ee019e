//! `cargo xtask certs`: makes the certificates of the TLS tests anew, with the openssl program.
//!
//! They are checked in, because tests must not depend on that program, and valid for a hundred
//! years. The keys of the authorities are thrown away: whoever changes a certificate makes all anew.

use std::fs;
use std::path::{Path, PathBuf};

use crate::steps::{Cmd, Steps};

pub(crate) const HELP: &str = "\
usage: cargo xtask certs

Makes testing/fixtures/certs anew with the openssl program (1.1.1 or newer). The table in
xtask/src/certs.rs says what is in it.
";

const FOLDER: &str = "testing/fixtures/certs";

const DAYS: u32 = 36_500;

/// A certificate of the tests.
struct Leaf {
    /// The stem of its files: `NAME.pem` has the chain, `NAME.key` the key.
    name: &'static str,
    /// Arguments of `openssl genpkey`.
    key: &'static str,
    subject: &'static str,
    names: &'static str,
    usage: &'static str,
    issuer: &'static str,
    /// First and last second of its life, instead of a hundred years.
    life: Option<(&'static str, &'static str)>,
}

const EC: &str = "-algorithm EC -pkeyopt ec_paramgen_curve:P-256";
const RSA: &str = "-algorithm RSA -pkeyopt rsa_keygen_bits:2048";
const SERVER: &str = "serverAuth";
const CLIENT: &str = "clientAuth";

/// Self-signed authorities, and the one that signs for `ca`.
const AUTHORITIES: &[(&str, &str)] = &[("ca", "/CN=test-ca"), ("other-ca", "/CN=other-ca")];

const LEAVES: &[Leaf] = &[
    leaf(
        "a",
        EC,
        "/O=Server/CN=a.example",
        "DNS:a.example,DNS:localhost,IP:127.0.0.1",
        SERVER,
    ),
    leaf("b", RSA, "/O=Server/CN=b.example", "DNS:b.example", SERVER),
    leaf(
        "wild",
        EC,
        "/O=Server/CN=*.wild.example",
        "DNS:*.wild.example",
        SERVER,
    ),
    // The same names as `a`, another key: what a file is replaced with.
    leaf(
        "a2",
        EC,
        "/O=Renewed/CN=a.example",
        "DNS:a.example,DNS:localhost,IP:127.0.0.1",
        SERVER,
    ),
    leaf(
        "client",
        EC,
        "/O=Client/OU=Unit/CN=client",
        "DNS:client.example",
        CLIENT,
    ),
    Leaf {
        issuer: "other-ca",
        ..leaf(
            "stranger",
            EC,
            "/O=Stranger/CN=client",
            "DNS:client.example",
            CLIENT,
        )
    },
    Leaf {
        life: Some(("20200101000000Z", "20200201000000Z")),
        ..leaf(
            "expired",
            EC,
            "/O=Server/CN=a.example",
            "DNS:a.example",
            SERVER,
        )
    },
];

/// Those with an OCSP response of their issuer, `NAME.ocsp`, valid as long as they are.
const STAPLED: &[&str] = &["a", "a2", "b"];

const fn leaf(
    name: &'static str,
    key: &'static str,
    subject: &'static str,
    names: &'static str,
    usage: &'static str,
) -> Leaf {
    Leaf {
        name,
        key,
        subject,
        names,
        usage,
        issuer: "intermediate",
        life: None,
    }
}

/// `cargo xtask certs`.
pub(crate) fn run(args: &[String], steps: &mut Steps) -> Result<(), String> {
    if let Some(arg) = args.first() {
        return Err(format!("unexpected argument `{arg}`; see --help"));
    }
    let work = std::env::temp_dir().join(format!("certs-{}", std::process::id()));
    fs::create_dir_all(&work).map_err(|e| format!("cannot make {}: {e}", work.display()))?;
    let made = make(&Maker { work: work.clone() }, steps);
    // What is left behind is only in the way of nobody.
    let _ = fs::remove_dir_all(&work);
    made
}

fn make(maker: &Maker, steps: &mut Steps) -> Result<(), String> {
    for (name, subject) in AUTHORITIES {
        maker.authority(name, subject, None, steps)?;
        maker.publish(&format!("{name}.pem"), &[name])?;
    }
    maker.authority("intermediate", "/CN=test-intermediate", Some("ca"), steps)?;
    for leaf in LEAVES {
        maker.leaf(leaf, steps)?;
        let chain: &[&str] = match leaf.issuer {
            "intermediate" => &[leaf.name, "intermediate"],
            _ => &[leaf.name],
        };
        maker.publish(&format!("{}.pem", leaf.name), chain)?;
        let key = maker.work.join(format!("{}.key", leaf.name));
        copy(&key, &format!("{}.key", leaf.name))?;
        if STAPLED.contains(&leaf.name) {
            maker.response(leaf, steps)?;
        }
    }
    Ok(())
}

/// Makes files in a folder of its own.
struct Maker {
    work: PathBuf,
}

impl Maker {
    fn path(&self, file: &str) -> String {
        self.work.join(file).display().to_string()
    }

    fn write(&self, file: &str, text: &str) -> Result<(), String> {
        fs::write(self.work.join(file), text).map_err(|e| format!("cannot write {file}: {e}"))
    }

    fn key(&self, name: &str, kind: &str, steps: &mut Steps) -> Result<(), String> {
        let cmd = Cmd::new(&format!("openssl genpkey {kind} -out"))
            .args([self.path(&format!("{name}.key"))]);
        steps.run(&format!("key of {name}"), cmd)
    }

    fn authority(
        &self,
        name: &str,
        subject: &str,
        issuer: Option<&str>,
        steps: &mut Steps,
    ) -> Result<(), String> {
        self.key(name, EC, steps)?;
        let extensions = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n\
                          subjectKeyIdentifier=hash\n";
        self.sign(
            name,
            subject,
            extensions,
            issuer.unwrap_or(name),
            None,
            steps,
        )
    }

    fn leaf(&self, leaf: &Leaf, steps: &mut Steps) -> Result<(), String> {
        self.key(leaf.name, leaf.key, steps)?;
        let extensions = format!(
            "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n\
             extendedKeyUsage={}\nsubjectAltName={}\nauthorityKeyIdentifier=keyid\n",
            leaf.usage, leaf.names
        );
        self.sign(
            leaf.name,
            leaf.subject,
            &extensions,
            leaf.issuer,
            leaf.life,
            steps,
        )
    }

    /// Writes what the issuer says of a certificate, which must be the last one it signed.
    fn response(&self, leaf: &Leaf, steps: &mut Steps) -> Result<(), String> {
        let issuer = |kind| self.path(&format!("{}.{kind}", leaf.issuer));
        let target = Path::new(FOLDER).join(format!("{}.ocsp", leaf.name));
        let cmd = Cmd::new(&format!("openssl ocsp -ndays {DAYS} -index"))
            .args([self.path("index"), "-rsigner".into(), issuer("crt")])
            .args(["-rkey".into(), issuer("key"), "-CA".into(), issuer("crt")])
            .args(["-issuer".into(), issuer("crt")])
            .args(["-cert".into(), self.path(&format!("{}.crt", leaf.name))])
            .args(["-respout".into(), target.display().to_string()]);
        steps.run(&format!("OCSP response for {}", leaf.name), cmd)
    }

    /// Signs with `openssl ca`, the only command of old versions that takes the life as dates.
    fn sign(
        &self,
        name: &str,
        subject: &str,
        extensions: &str,
        issuer: &str,
        life: Option<(&str, &str)>,
        steps: &mut Steps,
    ) -> Result<(), String> {
        let config = format!(
            "[ca]\ndefault_ca=own\n[own]\ndatabase={}\nnew_certs_dir={}\nrand_serial=yes\n\
             default_md=sha256\npolicy=any\nunique_subject=no\n[any]\ncommonName=optional\n\
             organizationName=optional\norganizationalUnitName=optional\n\
             [req]\ndistinguished_name=dn\n[dn]\n[ext]\n{extensions}",
            self.path("index"),
            self.work.display(),
        );
        self.write("index", "")?;
        self.write("config", &config)?;
        let request = Cmd::new(&format!("openssl req -new -subj {subject} -config")).args([
            self.path("config"),
            "-key".into(),
            self.path(&format!("{name}.key")),
            "-out".into(),
            self.path("request"),
        ]);
        steps.run(&format!("request of {name}"), request)?;
        let issued_by = if issuer == name {
            vec!["-selfsign".to_owned()]
        } else {
            vec!["-cert".to_owned(), self.path(&format!("{issuer}.crt"))]
        };
        let life = match life {
            Some((start, end)) => format!("-startdate {start} -enddate {end}"),
            None => format!("-days {DAYS}"),
        };
        let cmd = Cmd::new(&format!(
            "openssl ca -batch -notext -preserveDN -extensions ext {life} -config"
        ))
        .args([self.path("config"), "-in".into(), self.path("request")])
        .args(["-keyfile".into(), self.path(&format!("{issuer}.key"))])
        .args(issued_by)
        .args(["-out".into(), self.path(&format!("{name}.crt"))]);
        steps.run(&format!("certificate of {name}"), cmd)
    }

    /// Writes the certificates of a chain to one file of the repository.
    fn publish(&self, file: &str, chain: &[&str]) -> Result<(), String> {
        let mut pem = String::new();
        for name in chain {
            let path = self.work.join(format!("{name}.crt"));
            pem += &fs::read_to_string(&path)
                .map_err(|e| format!("cannot read {}: {e}", path.display()))?;
        }
        let target = Path::new(FOLDER).join(file);
        fs::create_dir_all(FOLDER).map_err(|e| format!("cannot make {FOLDER}: {e}"))?;
        fs::write(&target, pem).map_err(|e| format!("cannot write {}: {e}", target.display()))
    }
}

fn copy(from: &Path, file: &str) -> Result<(), String> {
    let target = Path::new(FOLDER).join(file);
    fs::copy(from, &target)
        .map(|_| ())
        .map_err(|e| format!("cannot write {}: {e}", target.display()))
}

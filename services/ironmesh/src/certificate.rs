//! `ironmesh certificate`: creates, lists, renews and revokes the certificates of the private CAs of an `ironmesh up`.

mod list;
mod renewal;
mod select;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result, bail, ensure};
use authority::{
    issue::{self, Authorities, Made, Wanted, Why},
    ledger::{self, Entry, Issuer, Ledger, Revocation, Subject},
    realm_file,
    revocation::publish_revocation,
};
use clap::{Args, Subcommand};
use domain::time::Timestamp;
use durable_file::Access;
use service_kit::{
    clock,
    tls::{Due, Identity, LIFETIME_DAYS, RevocationReason, Role, Serial, Validity, is_operator_name},
};

pub(crate) use self::renewal::Renewal;
use crate::{
    console::{answer, fail, say},
    pem_files::OPERATOR,
    store::StoreLocation,
};

/// Create a certificate and a context for a user, or list, renew and revoke certificates.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    arg_required_else_help = true,
    after_help = "Examples:\n  ironmesh certificate ann --role reader --data /var/lib/ironmesh\n  \
                  ironmesh certificate list --data /var/lib/ironmesh\n  \
                  ironmesh certificate revoke ann --reason key-compromise --data /var/lib/ironmesh"
)]
pub(crate) struct Certificate {
    #[command(subcommand)]
    command: Option<CertificateCommand>,
    /// Name of the user.
    #[arg(required = true)]
    name: Option<String>,
    /// Role of the user: reader reads everything, member uses nodes, service maintains nodes and images, admin has full
    /// rights.
    #[arg(long, required = true)]
    role: Option<Role>,
    #[command(flatten)]
    lifetime: Lifetime,
    /// Data directory of `ironmesh up`, with its private CA.
    #[arg(long, value_name = "DIR", required = true)]
    data: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum CertificateCommand {
    /// List all certificates that the CAs have issued.
    ///
    /// A certificate is valid, due (two thirds of its life are over), expired or revoked. A replaced one is still valid:
    /// revoke it if another person may have its key.
    List(DataDirectory),
    /// Renew certificates.
    ///
    /// Without a name, renews all that are due, except those of operators that have expired. Running services use the new certificates without a restart. ironmesh up
    /// renews the certificates of its services by itself. A certificate that was revoked is not renewed.
    #[command(after_help = "Example:\n  ironmesh certificate renew ann --data /var/lib/ironmesh")]
    Renew(Renew),
    /// Revoke certificates.
    ///
    /// All services refuse them within seconds, and end connections that are open with them. It cannot be undone. A service
    /// of a running ironmesh up gets a new certificate at once; an operator does not. The command can be repeated if it was
    /// interrupted.
    #[command(
        after_help = "Example:\n  ironmesh certificate revoke ann --reason privilege-withdrawn --data /var/lib/ironmesh"
    )]
    Revoke(Revoke),
}

#[derive(Debug, Args)]
struct DataDirectory {
    /// Data directory of `ironmesh up`, with its private CAs.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
}

#[derive(Debug, Args)]
struct Lifetime {
    /// Number of days for which the certificate is valid.
    #[arg(long, value_name = "N", default_value_t = LIFETIME_DAYS,
        value_parser = clap::value_parser!(u16).range(1..=i64::from(LIFETIME_DAYS)))]
    days: u16,
}

#[derive(Debug, Args)]
struct Renew {
    /// Name as in the list, name of an operator, or name of a service.
    name: Option<String>,
    /// Number of days for which the certificates are valid. By default as many as before for an operator, and 90 for others.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=i64::from(LIFETIME_DAYS)))]
    days: Option<u16>,
    #[command(flatten)]
    data: DataDirectory,
}

#[derive(Debug, Args)]
struct Revoke {
    /// Serial number (or its first 8 digits or more), name as in the list, name of an operator, or name of a service.
    #[arg(value_name = "SERIAL|NAME")]
    which: String,
    /// Why: unspecified, key-compromise, affiliation-changed, superseded, cessation-of-operation or privilege-withdrawn.
    #[arg(long, default_value = "unspecified", value_parser = reason)]
    reason: RevocationReason,
    /// Revoke the certificate of the last administrator, too.
    #[arg(long)]
    force: bool,
    /// Revoke the certificates of all operators or services that the name is one of.
    #[arg(long)]
    all: bool,
    /// Revoke a certificate that is not in the list, by its whole serial number: one that was signed with a copy of a CA's key.
    /// If the list has this number, the certificate in the list stays, and the same number of the other CA is revoked.
    #[arg(long)]
    unlisted: bool,
    #[command(flatten)]
    data: DataDirectory,
}

fn reason(text: &str) -> Result<RevocationReason> {
    let known = RevocationReason::ALL.into_iter().find(|reason| reason.word() == text);
    known.with_context(|| {
        format!(
            "unknown reason {text:?}; the reasons are {}",
            RevocationReason::ALL.map(RevocationReason::word).join(", ")
        )
    })
}

/// Runs a command.
pub(crate) fn run(format: cli::Format, command: Certificate) -> ExitCode {
    let Certificate { command, name, role, lifetime, data } = command;
    let outcome = match (command, name, role, data) {
        (Some(CertificateCommand::List(DataDirectory { data })), ..) => show(format, &data),
        (Some(CertificateCommand::Renew(command)), ..) => renew(&command),
        (Some(CertificateCommand::Revoke(command)), ..) => revoke(&command),
        (None, Some(name), Some(role), Some(data)) => {
            create(&data, &name, role, lifetime.days).map(|context| answer(&context.display().to_string()))
        }
        // clap requires all of them.
        (None, ..) => Err(anyhow::anyhow!("pass a name, --role and --data")),
    };
    outcome.map_or_else(|error| fail(&error), |()| ExitCode::SUCCESS)
}

/// Returns the folder of the certificates in a data directory that has CAs.
fn folder_of(data: &Path) -> Result<PathBuf> {
    let folder = data.join("certs");
    let has_ca = folder.join("ca.key").exists();
    ensure!(has_ca, "{} has no private CA; pass the data directory of ironmesh up", data.display());
    Ok(folder)
}

fn show(format: cli::Format, data: &Path) -> Result<()> {
    let ledger = Ledger::open(&folder_of(data)?)?;
    match format {
        cli::Format::Table => answer(list::table(&ledger, clock::now()).trim_end()),
        format @ (cli::Format::Json | cli::Format::Yaml | cli::Format::Name) => {
            answer(cli::written(format, &list::json(&ledger, clock::now())).trim_end());
        }
    }
    Ok(())
}

/// Creates a certificate for a user, signed by the private CA of the data directory, and a context for it. Returns the
/// path of the context.
pub(crate) fn create(data: &Path, name: &str, role: Role, days: u16) -> Result<PathBuf> {
    ensure!(
        is_operator_name(name),
        "invalid name {name:?}: use at most 64 letters, digits and -_. and none of the words operator, dc, rack, \
         service, host, authority and default"
    );
    let folder = data.join("certs");
    let identity = Identity::Operator { name: name.to_owned(), role }.uri(&realm_file::load(&folder)?);
    let client = data.join("client.toml");
    ensure!(
        folder.join("ca.key").exists() && client.exists(),
        "{} has no private CA; pass the data directory of ironmesh up, or have your own CA sign a certificate \
         with the URI {:?}",
        data.display(),
        identity
    );
    let own = format!("operator-{name}-{}", role.word());
    let file = Issuer::Mesh.files(&folder, &own).certificate;
    ensure!(
        !file.exists(),
        "{} already exists; renew it with: ironmesh certificate renew {own} --data {}. If it was revoked, remove it to \
         create another",
        file.display(),
        data.display()
    );
    let wanted = Wanted { name: own.clone(), issuer: Issuer::Mesh, subject: Subject::Identity(identity) };
    let mut ledger = Ledger::open(&folder)?;
    Authorities::load_or_create(&ledger, &folder)?.issue(&mut ledger, &folder, &wanted, days)?;
    let mut context: toml::Table = fs::read_to_string(&client)?.parse().context("client.toml is invalid")?;
    context.insert("certificate".to_owned(), format!("certs/{own}.pem").into());
    context.insert("key".to_owned(), format!("certs/{own}.key").into());
    let file = data.join(format!("{own}.toml"));
    durable_file::replace(&file, context.to_string().as_bytes(), Access::Everyone)?;
    Ok(file)
}

fn renew(command: &Renew) -> Result<()> {
    let folder = folder_of(&command.data.data)?;
    let mut ledger = Ledger::open(&folder)?;
    let authorities = Authorities::load_or_create(&ledger, &folder)?;
    let current = ledger.entries.iter().filter(|entry| !ledger.is_replaced(entry));
    let chosen: Vec<Entry> = match &command.name {
        Some(name) => select::select(current, name)?.into_iter().cloned().collect(),
        None => current.filter(|entry| is_renewed_unasked(entry, clock::now())).cloned().collect(),
    };
    if let Some(entry) = chosen.iter().find(|entry| entry.is_of_other_host()) {
        bail!(
            "certificate {} is of another host, which has its key and renews it by itself, also when it is revoked: ironmesh \
             certificate revoke {}",
            entry.name,
            entry.name
        );
    }
    if let Some(entry) = chosen.iter().find(|entry| entry.revoked.is_some() && entry.subject.is_operator()) {
        let file = Issuer::Mesh.files(&folder, &entry.name).certificate;
        ensure!(
            entry.name != OPERATOR,
            "certificate {} was revoked, and is not renewed. Create another administrator: ironmesh certificate NAME --role \
             admin --data {}",
            entry.name,
            command.data.data.display()
        );
        bail!(
            "certificate {} was revoked, and is not renewed. To trust this operator again, remove {} and create a \
             certificate: ironmesh certificate --help",
            entry.name,
            file.display()
        );
    }
    let mut made = Vec::new();
    for Entry { name, issuer, subject, validity, .. } in chosen {
        let before = if subject.is_operator() { days_of(validity) } else { LIFETIME_DAYS };
        let wanted = Wanted { name, issuer, subject };
        let entry = authorities.issue(&mut ledger, &folder, &wanted, command.days.unwrap_or(before))?;
        made.push(Made { entry, why: Why::Asked });
    }
    for Made { entry, .. } in &made {
        answer(&format!("{} is valid until {}", entry.name, entry.validity.not_after));
    }
    if made.is_empty() {
        say("no certificate is due");
    }
    Ok(())
}

/// Whether a certificate is renewed if no name is given. An operator whose certificate has expired may have left.
fn is_renewed_unasked(entry: &Entry, now: Timestamp) -> bool {
    entry.revoked.is_none()
        && !entry.is_of_other_host()
        && match entry.validity.due(now) {
            Due::No => false,
            Due::Renewal => true,
            Due::Expired => !entry.subject.is_operator(),
        }
}

/// The number of days for which a certificate was issued.
fn days_of(validity: Validity) -> u16 {
    let days = validity.not_after.since(validity.not_before).as_secs() / (24 * 60 * 60);
    u16::try_from(days).unwrap_or(LIFETIME_DAYS).clamp(1, LIFETIME_DAYS)
}

/// Returns whether no administrator is left once these certificates are revoked.
fn is_last_administrator(ledger: &Ledger, chosen: &[Entry]) -> bool {
    let now = clock::now();
    let good = |entry: &&Entry| entry.subject.is_administrator() && entry.is_good(now);
    let is_chosen = |entry: &Entry| chosen.iter().any(|chosen| entry.is_same(chosen));
    let left = ledger.entries.iter().filter(good).filter(|entry| !ledger.is_replaced(entry));
    chosen.iter().any(|entry| good(&entry)) && left.filter(|entry| !is_chosen(entry)).count() == 0
}

fn revoke(command: &Revoke) -> Result<()> {
    let folder = folder_of(&command.data.data)?;
    let Recorded { revoked: chosen, is_new, completed } = record_revocation(&folder, command)?;
    for entry in &chosen {
        let again = if is_new { "" } else { " already" };
        answer(&format!("revoked{again} {} ({}), serial number {}", entry.name, entry.subject, entry.serial));
    }
    service_kit::tls::install_provider();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let published = runtime.block_on(async {
        let store = StoreLocation::of(&command.data.data).store().await?;
        for entry in chosen.iter().filter(|entry| entry.issuer == Issuer::Mesh) {
            publish_revocation(&store, entry).await?;
        }
        anyhow::Ok(())
    });
    published.context(
        "the revocation is recorded, but the services could not be told; ironmesh up tells them within seconds when it runs \
         and etcd answers",
    )?;
    completed.context("the certificates are revoked, but not all of their services have new ones")
}

/// A revocation that is in the record.
#[derive(Debug)]
struct Recorded {
    /// The revoked certificates.
    revoked: Vec<Entry>,
    /// Whether they were not revoked before.
    is_new: bool,
    /// Whether services have new certificates.
    completed: Result<()>,
}

/// Records a certificate that another program signed with a copy of a CA's key. Which CA it was is not known, nor how long the
/// certificate is valid: it is one of each, for as long as the CA. A CA that issued one with this number is left out: what is
/// in the list is revoked by its own entry.
fn add_unlisted(ledger: &mut Ledger, authorities: &Authorities, serial: &Serial) -> Result<()> {
    for issuer in Issuer::ALL {
        if ledger.entries.iter().all(|entry| (&entry.serial, entry.issuer) != (serial, issuer)) {
            let (name, validity) = (format!("unlisted-{serial}"), authorities.validity(issuer));
            let (serial, subject) = (serial.clone(), Subject::Unlisted);
            ledger.entries.push(Entry { serial, name, issuer, subject, validity, revoked: None });
        }
    }
    ensure!(
        ledger.entries.iter().any(|entry| is_unlisted(entry, serial)),
        "the certificates with the serial number {serial} are in the list; revoke them without --unlisted"
    );
    Ok(())
}

fn is_unlisted(entry: &Entry, serial: &Serial) -> bool {
    entry.subject == Subject::Unlisted && entry.serial == *serial
}

/// Records that certificates are revoked, and gives the services among their bearers new ones.
/// What is revoked already is completed, because the command may have been interrupted.
fn record_revocation(folder: &Path, command: &Revoke) -> Result<Recorded> {
    let mut ledger = Ledger::open(folder)?;
    let authorities = Authorities::load_or_create(&ledger, folder)?;
    let (now, which) = (clock::now(), &command.which);
    let mut chosen: Vec<Entry> = if command.unlisted {
        // A name or the first digits of a number would choose others.
        let serial: Serial = which.parse()?;
        add_unlisted(&mut ledger, &authorities, &serial)?;
        ledger.entries.iter().filter(|entry| is_unlisted(entry, &serial)).cloned().collect()
    } else {
        select::select(ledger.entries.iter(), which)?.into_iter().cloned().collect()
    };
    chosen.retain(|entry| !entry.is_expired(now));
    ensure!(!chosen.is_empty(), "the certificates of {which:?} have expired");
    let is_new = chosen.iter().any(|entry| entry.is_good(now));
    chosen.retain(|entry| entry.is_good(now) == is_new);
    ensure!(
        command.all || !is_new || !select::is_ambiguous(&chosen),
        "{which:?} is the name of several; pass --all, or one of these serial numbers:{}",
        chosen.iter().map(|entry| format!("\n  {} {}", entry.serial, entry.subject)).collect::<String>()
    );
    ensure!(
        command.force || !is_last_administrator(&ledger, &chosen),
        "{which:?} has the last certificate with the admin role: without it, no context has full rights. Create another one \
         first (ironmesh certificate NAME --role admin), or pass --force"
    );
    if is_new {
        let revocation = Some(Revocation { at: now, reason: command.reason });
        for entry in ledger.entries.iter_mut().filter(|entry| chosen.iter().any(|other| entry.is_same(other))) {
            entry.revoked = revocation;
        }
        ledger.save()?;
        chosen.iter_mut().for_each(|entry| entry.revoked = revocation);
    }
    // Before etcd refuses the old ones, which it does also if this fails.
    let mut completed = Ok(());
    for entry in &chosen {
        let is_own = !entry.subject.is_operator() && !entry.is_of_other_host();
        if is_own && entry.subject != Subject::Unlisted && !ledger.is_replaced(entry) {
            let Entry { name, issuer, subject, .. } = entry.clone();
            let issued = authorities.issue(&mut ledger, folder, &Wanted { name, issuer, subject }, LIFETIME_DAYS);
            completed = completed.and_then(|()| issued.map(drop));
        }
    }
    authorities.write_revocation_lists(&ledger, folder)?;
    Ok(Recorded { revoked: chosen, is_new, completed })
}

#[cfg(test)]
mod tests;

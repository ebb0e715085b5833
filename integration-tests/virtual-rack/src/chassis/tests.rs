use super::*;

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

#[test]
fn a_boot_device_holds_for_one_start() {
    let acts = decide(Ask::On, false, BootDevice::Network).unwrap();
    let once = [Act::Start(BootDevice::Network), Act::Remember(BootDevice::Unsaid), Act::Order(BootDevice::Unsaid)];
    assert_eq!(acts, once);
}

#[test]
fn a_boot_device_is_withdrawn_only_after_the_reset_it_was_for() {
    let acts = decide(Ask::Reset, true, BootDevice::Network).unwrap();
    assert_eq!(acts.first(), Some(&Act::Order(BootDevice::Network)));
    assert_eq!(acts.last(), Some(&Act::ResetOnce));
}

#[test]
fn what_is_on_is_not_turned_on_again_and_what_is_off_not_off() {
    assert!(decide(Ask::On, true, BootDevice::Disk).unwrap().is_empty());
    assert!(decide(Ask::Off, false, BootDevice::Disk).unwrap().is_empty());
}

#[test]
fn a_machine_that_is_off_cannot_be_reset() {
    decide(Ask::Reset, false, BootDevice::Disk).unwrap_err();
    decide(Ask::Shutdown, false, BootDevice::Disk).unwrap_err();
}

#[test]
fn several_parameters_may_come_in_one_call() {
    let read = asks(&words("identify 15 0 boot pxe power 1")).unwrap();
    assert_eq!(read, [Ask::Identify, Ask::Boot(BootDevice::Network), Ask::On]);
    asks(&words("boot")).unwrap_err();
    asks(&words("boot floppy")).unwrap_err();
}

#[test]
fn a_boot_device_asked_for_during_a_reset_does_not_wait_for_its_end() {
    let acts = decide(Ask::Boot(BootDevice::Network), true, BootDevice::Unsaid).unwrap();
    assert_eq!(acts, [Act::Remember(BootDevice::Network), Act::OrderSoon(BootDevice::Network)]);
}

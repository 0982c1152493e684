//! A second thread. On unix by the one call that makes it: the name that std gives to a thread is
//! written by printf, and its guard against a full stack keeps a tree: 30 KB on a router.

use std::io;

/// Runs this beside the thread that calls, to its end or that of the process.
///
/// # Errors
/// There is no memory for its stack, or one more thread would be too many.
pub fn spawn(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    platform::spawn(work)
}

#[cfg(unix)]
mod platform {
    use core::ffi::c_void;
    use core::mem::MaybeUninit;
    use core::ptr;
    use std::io;

    pub fn spawn<F: FnOnce() + Send + 'static>(work: F) -> io::Result<()> {
        let work = Box::into_raw(Box::new(work));
        let mut thread = MaybeUninit::uninit();
        let attributes = ptr::null();
        // SAFETY: the call writes the thread's name, for which there is room, and hands the pointer
        // to `start` alone, which knows its type.
        match unsafe {
            libc::pthread_create(thread.as_mut_ptr(), attributes, start::<F>, work.cast())
        } {
            0 => Ok(()),
            error => {
                // SAFETY: no thread has begun, so nobody else has it.
                drop(unsafe { Box::from_raw(work) });
                Err(io::Error::from_raw_os_error(error))
            }
        }
    }

    extern "C" fn start<F: FnOnce()>(work: *mut c_void) -> *mut c_void {
        // SAFETY: it is the box that `spawn` has given away, and this thread is the only one with it.
        let work = unsafe { Box::from_raw(work.cast::<F>()) };
        work();
        ptr::null_mut()
    }
}

#[cfg(not(unix))]
mod platform {
    use std::io;

    pub fn spawn(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        std::thread::Builder::new().spawn(work)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    #[test]
    fn it_does_its_work_and_drops_what_it_was_given() {
        let (sender, receiver) = mpsc::channel();
        super::spawn(move || sender.send(7).unwrap()).unwrap();
        assert_eq!(receiver.recv(), Ok(7));
        assert!(receiver.recv().is_err());
    }
}

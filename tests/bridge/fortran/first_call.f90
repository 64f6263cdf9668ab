! SPDX-License-Identifier: Apache-2.0
!> A host that goes through all five calls and reports the first status that is not 0.
program first_call
   use, intrinsic :: iso_fortran_env, only: real64
   use coupler_plugin, only: coupler_t, coupler_version
   use testing, only: argument, report, report_error
   implicit none
   type(coupler_t) :: coupler
   real(real64), target :: tas(2) = [1.0_real64, 2.0_real64], lai(2) = -9.0_real64
   integer :: rc

   call report('version', coupler_version())
   call coupler%init(argument(1), start='2001-01-01', dt=3600.0d0, rc=rc)
   if (rc == 0) call coupler%set_cells([1, 2], tas, tas, rc=rc)
   if (rc == 0) call coupler%bind('tas', tas, rc=rc)
   if (rc == 0) call coupler%bind('lai', lai, rc=rc)
   if (rc == 0) call coupler%step(rc=rc)
   if (rc == 0) call coupler%finalize(rc=rc)
   call report('answer', all(nint(lai) == [3, 5]))
   call report_error('rc', coupler, rc)
end program first_call

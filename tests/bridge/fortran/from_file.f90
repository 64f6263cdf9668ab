! SPDX-License-Identifier: Apache-2.0
!> A host without a model: its fields of each day come from a file of real64, cell after cell, field after field.
program from_file
   use, intrinsic :: iso_fortran_env, only: int32, real64
   use coupler_plugin, only: coupler_t
   use testing, only: argument, report_error
   implicit none
   type(coupler_t) :: coupler
   real(real64), allocatable, target :: tas(:), rsds(:)
   real(real64), allocatable :: lon(:), lat(:)
   integer(int32) :: n, days, unit, day, i, rc

   open (newunit=unit, file=argument(2), access='stream', form='unformatted', status='old', action='read')
   read (unit) n, days
   allocate (tas(n), rsds(n), lon(n), lat(n))
   read (unit) lon, lat
   call coupler%init(argument(1), start='2001-01-01', dt=86400.0_real64, rc=rc)
   if (rc == 0) call coupler%set_cells([(i, i=1, n)], lon, lat, rc=rc)
   if (rc == 0) call coupler%bind('tas', tas, units='K', rc=rc)
   if (rc == 0) call coupler%bind('rsds', rsds, units='W m-2', rc=rc)
   do day = 1, days
      read (unit) tas, rsds
      if (rc == 0) call coupler%step(rc=rc)
   end do
   if (rc == 0) call coupler%finalize(rc=rc)
   close (unit)
   call report_error('rc', coupler, rc)
end program from_file

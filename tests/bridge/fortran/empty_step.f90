! SPDX-License-Identifier: Apache-2.0
!> Time of a step in which nothing is due [ns]; and resident memory before and after many of them [kB].
program empty_step
   use, intrinsic :: iso_fortran_env, only: int64, real64
   use coupler_plugin, only: coupler_t
   use testing, only: new_coupler, report
   implicit none
   integer, parameter :: nsteps = 200000
   type(coupler_t) :: coupler
   real(real64) :: here(1) = 1.0_real64
   integer(int64) :: before, after, rate
   integer :: i, memory

   call new_coupler(coupler)
   call coupler%set_cells([1], here, here)
   do i = 1, 1000
      call coupler%step()
   end do
   memory = resident()
   call system_clock(before, rate)
   do i = 1, nsteps
      call coupler%step()
   end do
   call system_clock(after)
   call report('nanoseconds', int((after - before)*1000000000_int64/rate/nsteps))
   call report('growth', resident() - memory)
   call coupler%finalize()

contains

   integer function resident()
      character(len=80) :: line
      integer :: unit, status

      resident = 0
      open (newunit=unit, file='/proc/self/status', action='read', status='old')
      do
         read (unit, '(a)', iostat=status) line
         if (status /= 0) exit
         if (line(:6) == 'VmRSS:') read (line(7:index(line, 'kB') - 1), *) resident
      end do
      close (unit)
   end function resident

end program empty_step

! SPDX-License-Identifier: Apache-2.0
!> Two couplers in one process, with cells, steps and coupling files of their own; arrays bound again after they moved.
!! The first emulator gives 2 tas + 1, the second 3 tas.
program two_couplers
   use, intrinsic :: iso_fortran_env, only: real32, real64
   use coupler_plugin, only: COUPLER_ERROR_ORDER, coupler_t
   use testing, only: argument, new_coupler, report
   implicit none
   type(coupler_t) :: first, second
   real(real64), allocatable, target :: tas(:), lai(:), old(:)
   real(real32), target :: t(2), l(2)
   integer :: rc

   allocate (tas(3), lai(3))
   tas = [1.0_real64, 2.0_real64, 3.0_real64]
   t = [4.0_real32, 5.0_real32]
   call new_coupler(first)
   call second%init(argument(2), start='1999-12-31T12:00:00', dt=1800.0d0)
   call second%set_cells([1, 2], t, t)
   call first%set_cells([1, 2, 3], tas, tas)
   call second%bind('lai', l)
   call first%bind('tas', tas)
   call second%bind('tas', t)
   call first%bind('lai', lai)
   call first%step()
   call second%step()
   call second%step() ! its emulator runs hourly: every second step
   call report('first', all(nint(lai) == [3, 5, 7]))
   call report('second', all(nint(l) == [12, 15]))

   call move_alloc(lai, old)
   allocate (lai(3), source=-9.0_real64)
   deallocate (tas)
   allocate (tas(3), source=10.0_real64)
   call first%bind('lai', lai)
   call first%bind('tas', tas)
   call first%step()
   call report('bound_again', all(nint(lai) == 21) .and. all(nint(old) == [3, 5, 7]))

   call first%finalize()
   call first%step(rc=rc)
   call report('first_is_finalized', rc == COUPLER_ERROR_ORDER)
   t = 1.0_real32
   call second%step()
   call second%step()
   call report('second_goes_on', all(nint(l) == 3))
   call second%finalize()
end program two_couplers

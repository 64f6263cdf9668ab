! SPDX-License-Identifier: Apache-2.0
!> The host reads an output right after the step, compiled with full optimisation: the compiler must not keep the value
!! that it knew before. The emulator gives 2 tas + 1.
program hidden_writes
   use, intrinsic :: iso_fortran_env, only: real64
   use coupler_plugin, only: coupler_t
   use testing, only: new_coupler, report
   implicit none

   call local_scalars()

contains

   subroutine local_scalars()
      type(coupler_t) :: coupler
      real(real64), target :: tas, lai
      integer :: step, wrong

      call new_coupler(coupler)
      call coupler%set_cells(1, 10.0, 50.0)
      call coupler%bind('tas', tas)
      call coupler%bind('lai', lai)
      wrong = 0
      do step = 1, 100
         tas = real(step, real64)
         lai = -1.0_real64
         call coupler%step()
         if (nint(lai) /= 2*step + 1) wrong = wrong + 1
      end do
      call report('wrong', wrong)
      call coupler%finalize()
   end subroutine local_scalars

end program hidden_writes

! SPDX-License-Identifier: Apache-2.0
!> A host that ends in the middle.
program no_finalize
   use, intrinsic :: iso_fortran_env, only: real64
   use coupler_plugin, only: coupler_t
   use testing, only: new_coupler, report
   implicit none
   type(coupler_t) :: coupler
   real(real64), target :: tas(2) = 1.0_real64, lai(2)

   call new_coupler(coupler)
   call coupler%set_cells([1, 2], tas, tas)
   call coupler%bind('tas', tas)
   call coupler%bind('lai', lai)
   call coupler%step()
   call report('answer', all(nint(lai) == 3))
end program no_finalize

! SPDX-License-Identifier: Apache-2.0
!> A host that goes into a folder of its own, the second argument, once it has read what lies where it was started.
program changes_folder
   use, intrinsic :: iso_c_binding, only: c_char, c_int, c_null_char
   use, intrinsic :: iso_fortran_env, only: real64
   use coupler_plugin, only: coupler_t
   use testing, only: argument, new_coupler, report
   implicit none
   interface
      integer(c_int) function chdir(path) bind(c)
         import :: c_char, c_int
         character(kind=c_char), intent(in) :: path(*)
      end function chdir
   end interface
   type(coupler_t) :: coupler
   real(real64), target :: tas(2) = [1.0_real64, 2.0_real64], lai(2)

   call new_coupler(coupler)
   call report('chdir', chdir(argument(2)//c_null_char))
   call coupler%set_cells([1, 2], tas, tas)
   call coupler%bind('tas', tas)
   call coupler%bind('lai', lai)
   call coupler%step()
   call coupler%finalize()
end program changes_folder

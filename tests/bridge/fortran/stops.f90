! SPDX-License-Identifier: Apache-2.0
!> A serial host with an error: with `rc` when there is a second argument, without otherwise.
program stops
   use coupler_plugin, only: coupler_t
   use testing, only: argument, new_coupler, report
   implicit none
   type(coupler_t) :: coupler
   real, target :: tas(2) = 1.0
   integer :: rc

   call new_coupler(coupler)
   call coupler%set_cells([1, 2], tas, tas)
   call report('reached', .true.)
   if (argument(2) == '') then
      call coupler%bind('tass', tas)
   else
      call coupler%bind('tass', tas, rc=rc)
   end if
   call report('went_on', .true.)
end program stops
